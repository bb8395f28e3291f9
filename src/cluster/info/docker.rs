//! JSON as Docker's inspections print it.

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::{Labels, NodeInfo, SecretInfo, Selector};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    index: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Spec<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    labels: &'a Labels,
}

/// As `docker secret inspect` prints it, with what Docker does not have behind: `ID`, `Version`,
/// `CreatedAt`, `UpdatedAt`, `Spec`, and then `Current`, `Versions`, and, if set, `Expires`,
/// `RotateBy` and `Selector`.
impl Serialize for SecretInfo {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("ID", &self.id)?;
        map.serialize_entry("Version", &Version { index: self.index })?;
        map.serialize_entry("CreatedAt", &self.created)?;
        map.serialize_entry("UpdatedAt", &self.updated)?;
        map.serialize_entry("Spec", &Spec { name: Some(&self.name), labels: &self.labels })?;
        map.serialize_entry("Current", &self.current)?;
        map.serialize_entry("Versions", &self.versions)?;
        if let Some(expires) = self.dates.expires {
            map.serialize_entry("Expires", &expires)?;
        }
        if let Some(rotate_by) = self.dates.rotate_by {
            map.serialize_entry("RotateBy", &rotate_by)?;
        }
        if self.selector != Selector::default() {
            map.serialize_entry("Selector", &self.selector)?;
        }
        map.end()
    }
}

/// As `docker node inspect` prints what both have: `ID`, `Version`, `CreatedAt`, `UpdatedAt` and the
/// labels in `Spec`; then `Sequence` and `Tasks`, and, if it reported them, `Keys`.
impl Serialize for NodeInfo {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("ID", &self.id)?;
        map.serialize_entry("Version", &Version { index: self.index })?;
        map.serialize_entry("CreatedAt", &self.created)?;
        map.serialize_entry("UpdatedAt", &self.updated)?;
        map.serialize_entry("Spec", &Spec { name: None, labels: &self.labels })?;
        map.serialize_entry("Sequence", &self.sequence)?;
        map.serialize_entry("Tasks", &self.tasks)?;
        if let Some(keys) = &self.keys {
            map.serialize_entry("Keys", keys)?;
        }
        map.end()
    }
}
