//! What a store needs that was put together from what could still be read.

use std::collections::BTreeMap;

use super::Image;
use crate::error::Result;
use crate::secret::SecretBytes;
use crate::swarm::objects::{ObjectKind, id, last_bytes, last_uint};

/// The kinds of which no two objects have the same name, whatever its case.
const NAMED: [ObjectKind; 4] =
    [ObjectKind::Secret, ObjectKind::Config, ObjectKind::Service, ObjectKind::Network];

impl Image {
    /// The greatest version of any object.
    pub(crate) fn greatest_version(&self) -> u64 {
        let objects = self.tables.values().flat_map(BTreeMap::values);
        objects.filter_map(|object| version(object).ok()).max().unwrap_or(0)
    }

    /// Puts the cluster's object in place of the one that is there.
    pub(crate) fn set_cluster(&mut self, object: SecretBytes) -> Result<()> {
        let Some(field) = ObjectKind::Cluster.store_field() else { return Ok(()) };
        let id = id(object.expose())?;
        self.tables.insert(field, BTreeMap::from([(id, object)]));
        Ok(())
    }

    /// Removes all but the newest of the objects that have the same name: their removal is among
    /// what was lost, since Swarm creates none with a name that is taken. Says which.
    pub(crate) fn drop_namesakes(&mut self) -> Vec<String> {
        let mut dropped = Vec::new();
        for kind in NAMED {
            let table = kind.store_field().and_then(|field| self.tables.get_mut(&field));
            let Some(table) = table else { continue };
            let mut newest: BTreeMap<String, (u64, String)> = BTreeMap::new();
            let mut gone = Vec::new();
            for (id, object) in &*table {
                let (Ok(name), Ok(version)) = (name(object), version(object)) else { continue };
                if name.is_empty() {
                    continue;
                }
                let this = (version, id.clone());
                match newest.get(&name) {
                    Some(other) if *other > this => gone.push((name, this.1)),
                    _ => {
                        if let Some((_, id)) = newest.insert(name.clone(), this) {
                            gone.push((name, id));
                        }
                    }
                }
            }
            for (name, id) in gone {
                table.remove(&id);
                dropped.push(format!("the {kind} {id}, whose name {name:?} a later one has"));
            }
        }
        dropped
    }
}

fn version(object: &SecretBytes) -> Result<u64> {
    last_uint(last_bytes(last_bytes(object.expose(), 2)?, 1)?, 1)
}

/// The name in an object's spec, in lower case, as Swarm compares it.
fn name(object: &SecretBytes) -> Result<String> {
    let annotations = last_bytes(last_bytes(object.expose(), 3)?, 1)?;
    Ok(String::from_utf8_lossy(last_bytes(annotations, 1)?).to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::replay::Replay;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
    }

    fn secret(id: &str, version: u8, name: &str) -> Vec<u8> {
        let meta = field(2, &field(1, &[8, version]));
        let spec = field(3, &field(1, &field(1, name.as_bytes())));
        [field(1, id.as_bytes()), meta, spec].concat()
    }

    #[test]
    fn of_namesakes_the_newest_stays() {
        let mut image = Image::default();
        for (id, version, name) in
            [("a", 9, "one"), ("b", 12, "One"), ("c", 11, "ONE"), ("d", 1, "two")]
        {
            image.put(ObjectKind::Secret, &secret(id, version, name)).unwrap();
            image.put(ObjectKind::Task, &secret(id, version, name)).unwrap();
        }
        assert_eq!(image.greatest_version(), 12);
        assert_eq!(image.drop_namesakes().len(), 2);
        assert_eq!(image.counts()[&ObjectKind::Secret], 2);
        assert_eq!(image.counts()[&ObjectKind::Task], 4);
        assert!(image.remove(ObjectKind::Secret, "b") && image.remove(ObjectKind::Secret, "d"));
        assert!(image.drop_namesakes().is_empty());
    }
}
