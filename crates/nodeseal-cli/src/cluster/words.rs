//! What users write: labels, filters, references to secrets; and new ids.

use nodeseal::cluster::{Cluster, Filter, Found, Labels, Required, SecretInfo, ServiceInfo};
use nodeseal::grant::{Follow, Mode, Reference, Target, check_references, parse_owner};

use super::args::LabelChange;
use crate::fail::{Failure, Result};

fn refused(text: impl Into<String>) -> Failure {
    Failure::Refused(text.into())
}

/// `KEY=VALUE` or `KEY`.
pub(super) fn labels(texts: &[String]) -> Labels {
    let pairs = texts.iter().map(|text| text.split_once('=').unwrap_or((text, "")));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Labels after a change: what is removed is so even if it is added as well.
pub(super) fn changed(labels: &Labels, change: &LabelChange) -> Labels {
    let mut labels = labels.clone();
    labels.extend(self::labels(&change.add));
    labels.retain(|key, _| !change.remove.contains(key));
    labels
}

/// Labels as Docker's lists print them.
pub(super) fn listed(labels: &Labels) -> String {
    let labels = labels.iter().map(|(key, value)| format!("{key}={value}"));
    labels.collect::<Vec<_>>().join(",")
}

/// `KEY=VALUE`, or `KEY` for any value, as what a policy asks for.
pub(super) fn required(texts: &[String]) -> Result<Required> {
    let mut required = Required::new();
    for text in texts {
        let (key, value) = required_label(text);
        if key.is_empty() {
            return Err(refused(format!("invalid selector '{text}', expected KEY[=VALUE]")));
        }
        if required.insert(key.to_owned(), value).is_some() {
            return Err(refused(format!("the selector asks for label {key} twice")));
        }
    }
    Ok(required)
}

/// As Docker has it, an empty value stands for any.
fn required_label(text: &str) -> (&str, Option<String>) {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    (key, (!value.is_empty()).then(|| value.to_owned()))
}

/// Docker's filters for a list of secrets.
pub(super) fn filter(texts: &[String]) -> Result<Filter> {
    let mut filter = Filter::default();
    for text in texts {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| refused(format!("invalid filter '{text}', expected NAME=VALUE")))?;
        match name.trim() {
            "id" => filter.ids.push(value.to_owned()),
            "name" => filter.name_prefixes.push(value.to_owned()),
            "label" => {
                let (key, value) = required_label(value);
                filter.labels.insert(key.to_owned(), value);
            }
            other => return Err(refused(format!("invalid filter '{other}'"))),
        }
    }
    Ok(filter)
}

/// The secret that a user means.
pub(super) fn secret(cluster: &Cluster, word: &str) -> Result<SecretInfo> {
    one(cluster.find_secret(word), "secret", word)
}

/// The service that a user means.
pub(super) fn service(cluster: &Cluster, word: &str) -> Result<ServiceInfo> {
    one(cluster.find_service(word), "service", word)
}

fn one<T>(found: Found<T>, kind: &str, word: &str) -> Result<T> {
    match found {
        Found::One(found) => Ok(found),
        Found::None => Err(refused(format!("{kind} {word} not found"))),
        Found::Several(n) => {
            Err(refused(format!("{kind} {word} is ambiguous ({n} matches found)")))
        }
    }
}

/// Docker's `--secret`: a name, or `source=,target=,uid=,gid=,mode=`, and here also `version=` for
/// one that stays whatever becomes the current one.
pub(super) fn references(cluster: &Cluster, texts: &[String]) -> Result<Vec<Reference>> {
    let references: Vec<Reference> =
        texts.iter().map(|text| reference(cluster, text)).collect::<Result<_>>()?;
    for (at, one) in references.iter().enumerate() {
        if references.iter().take(at).any(|other| other.target == one.target) {
            let name = &one.target;
            return Err(refused(format!("duplicate secret target for {name} not allowed")));
        }
    }
    check_references(&references)?;
    Ok(references)
}

fn reference(cluster: &Cluster, text: &str) -> Result<Reference> {
    let mut source = None;
    let (mut target, mut uid, mut gid, mut mode, mut follow) =
        (None, 0, 0, Mode::DEFAULT, Follow::Current);
    if text.contains('=') {
        for field in text.split(',') {
            let (key, value) = field.split_once('=').ok_or_else(|| {
                refused(format!("invalid field '{field}' must be a key=value pair"))
            })?;
            match key.to_ascii_lowercase().as_str() {
                "source" | "src" => source = Some(value),
                "target" => target = Some(value),
                "uid" => uid = parse_owner(value)?,
                "gid" => gid = parse_owner(value)?,
                "mode" => {
                    mode = value
                        .parse()
                        .map_err(|error| refused(format!("invalid mode specified: {error}")))?;
                }
                "version" => {
                    let number = value.parse();
                    follow = Follow::Pinned(
                        number.map_err(|_| refused(format!("invalid version {value:?}")))?,
                    );
                }
                _ => return Err(refused(format!("invalid field in secret request: {key}"))),
            }
        }
    } else {
        source = Some(text);
    }
    let source =
        source.filter(|source| !source.is_empty()).ok_or_else(|| refused("source is required"))?;
    // By name alone: a reference must say the name.
    let wanted = Filter { names: vec![source.to_owned()], internal: true, ..Filter::default() };
    let found = cluster.secrets(&wanted).into_iter().find(|secret| secret.name == source);
    let found = found.ok_or_else(|| refused(format!("secret not found: {source}")))?;
    let target = Target::new(target.unwrap_or(source))?;
    Ok(Reference { secret: found.id, name: found.name, follow, target, uid, gid, mode })
}

/// A new random id as Docker's are: 128 bits in base 36, 25 characters.
pub(super) fn new_id() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| nodeseal::Error::Random)?;
    let mut left = u128::from_le_bytes(bytes);
    let mut id = ['0'; 25];
    for digit in id.iter_mut().rev() {
        let value = u32::try_from(left % 36).unwrap_or_default();
        *digit = char::from_digit(value, 36).unwrap_or('0');
        left /= 36;
    }
    Ok(id.iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_of_dockers_form_and_differ() {
        let (one, other) = (new_id().unwrap(), new_id().unwrap());
        assert!(one.len() == 25 && one != other);
        assert!(one.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()), "{one}");
    }

    #[test]
    fn labels_and_filters_are_read_as_docker_reads_them() {
        let texts = ["a=1".to_owned(), "b".to_owned(), "c=x=y".to_owned()];
        let read = labels(&texts);
        assert_eq!((&*read["a"], &*read["b"], &*read["c"]), ("1", "", "x=y"));
        let read = filter(&["name=db".into(), "label=a".into(), "label=b=".into()]).unwrap();
        assert_eq!(read.name_prefixes, ["db"]);
        assert_eq!((&read.labels["a"], &read.labels["b"]), (&None, &None));
        assert!(filter(&["name".into()]).is_err());
        assert!(filter(&["driver=x".into()]).is_err());
    }
}
