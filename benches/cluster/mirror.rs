use std::collections::{BTreeMap, BTreeSet};

use nodeseal::cluster::{Filter, Labels, NodeInfo, SecretInfo, ServiceInfo, TaskInfo};
use nodeseal::grant::Reference;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::world::{PAYLOAD, World};

/// The same objects as the state has them, for postcard.
#[derive(Serialize, Deserialize)]
pub struct Mirror {
    secrets: Vec<MirrorSecret>,
    services: Vec<MirrorService>,
    nodes: Vec<MirrorNode>,
    tasks: Vec<MirrorTask>,
}

#[derive(Serialize, Deserialize)]
pub struct MirrorSecret {
    id: String,
    name: String,
    labels: Labels,
    internal: bool,
    expires: Option<u64>,
    rotate_by: Option<u64>,
    selector: (BTreeMap<String, String>, BTreeMap<String, String>),
    meta: [u64; 3],
    current: u64,
    last: u64,
    versions: BTreeMap<u64, (u64, u64, Bytes)>,
}

#[derive(Serialize, Deserialize)]
struct MirrorReference {
    secret: String,
    name: String,
    follow: Option<u64>,
    target: String,
    uid: u32,
    gid: u32,
    mode: u16,
}

#[derive(Serialize, Deserialize)]
pub struct MirrorService {
    id: String,
    name: String,
    labels: Labels,
    meta: [u64; 3],
    references: Vec<MirrorReference>,
    previous: Option<Vec<MirrorReference>>,
    generations: BTreeMap<u64, Vec<MirrorReference>>,
    last_generation: u64,
}

#[derive(Serialize, Deserialize)]
pub struct MirrorNode {
    id: String,
    labels: Labels,
    public_key: Option<[u8; 32]>,
    meta: [u64; 3],
    report: Option<[u64; 5]>,
    sequence: u64,
}

#[derive(Serialize, Deserialize)]
pub struct MirrorTask {
    id: String,
    service: String,
    node: Option<String>,
    state: u8,
    generation: u64,
    index: u64,
}

/// The objects as one would keep them to work on, with the standard library's maps.
#[expect(dead_code, reason = "held, as it would be to work on")]
pub struct Indexed {
    pub secrets: BTreeMap<String, MirrorSecret>,
    pub services: BTreeMap<String, (MirrorService, BTreeSet<String>)>,
    pub nodes: BTreeMap<String, (MirrorNode, BTreeSet<String>)>,
    pub tasks: BTreeMap<String, MirrorTask>,
    pub secret_names: BTreeMap<String, String>,
    pub service_names: BTreeMap<String, String>,
    /// The services that refer to a secret.
    pub users: BTreeMap<String, BTreeSet<String>>,
}

impl Mirror {
    /// Checks that what objects name is there, and makes the maps. `None` if something is not there.
    pub fn index(self) -> Option<Indexed> {
        let secrets: BTreeMap<_, _> = self.secrets.into_iter().map(|s| (s.id.clone(), s)).collect();
        let names = secrets.values().map(|s| (s.name.to_ascii_lowercase(), s.id.clone()));
        let secret_names: BTreeMap<_, _> = names.collect();
        let mut users: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for service in &self.services {
            let specs = service.references.iter().chain(service.previous.iter().flatten());
            for reference in specs.chain(service.generations.values().flatten()) {
                let secret = secrets.get(&reference.secret)?;
                users.entry(secret.id.clone()).or_default().insert(service.id.clone());
            }
        }
        let names = self.services.iter().map(|s| (s.name.to_ascii_lowercase(), s.id.clone()));
        let service_names: BTreeMap<_, _> = names.collect();
        let services = self.services.into_iter().map(|s| (s.id.clone(), (s, BTreeSet::new())));
        let mut services: BTreeMap<_, _> = services.collect();
        let nodes = self.nodes.into_iter().map(|n| (n.id.clone(), (n, BTreeSet::new())));
        let mut nodes: BTreeMap<_, _> = nodes.collect();
        for task in &self.tasks {
            services.get_mut(&task.service)?.1.insert(task.id.clone());
            if let Some(node) = &task.node {
                nodes.get_mut(node)?.1.insert(task.id.clone());
            }
        }
        let tasks = self.tasks.into_iter().map(|task| (task.id.clone(), task)).collect();
        Some(Indexed { secrets, services, nodes, tasks, secret_names, service_names, users })
    }
}

/// Bytes that serde is told are bytes: a vector of them would go one by one.
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&[u8]>::deserialize(deserializer).map(|bytes| Self(bytes.to_vec()))
    }
}

pub fn mirror(world: &World) -> Mirror {
    let meta = [1_700_000_000_000_000_000, 1_700_000_000_000_000_000, 100_000];
    let filter = Filter::default();
    let secret = |info: SecretInfo| MirrorSecret {
        id: info.id.to_string(),
        name: info.name,
        labels: info.labels,
        internal: false,
        expires: None,
        rotate_by: None,
        selector: Default::default(),
        meta,
        current: 1,
        last: 1,
        versions: [(1, (meta[0], 1, Bytes(vec![7; PAYLOAD.len() + 40])))].into(),
    };
    let references = |references: &[Reference]| -> Vec<MirrorReference> {
        let one = |reference: &Reference| MirrorReference {
            secret: reference.secret.to_string(),
            name: reference.name.clone(),
            follow: None,
            target: reference.target.to_string(),
            uid: 0,
            gid: 0,
            mode: 0o444,
        };
        references.iter().map(one).collect()
    };
    let service = |info: ServiceInfo| MirrorService {
        id: info.id.to_string(),
        name: info.name.clone(),
        labels: info.labels.clone(),
        meta,
        references: references(&info.references),
        previous: info.previous.as_deref().map(references),
        generations: [(1, references(&info.references))].into(),
        last_generation: 1,
    };
    let node = |info: NodeInfo| MirrorNode {
        id: info.id.to_string(),
        labels: info.labels,
        public_key: None,
        meta,
        report: None,
        sequence: info.sequence,
    };
    let tasks = world.services.iter().flat_map(|service| world.cluster.tasks_of(service));
    let task = |info: TaskInfo| MirrorTask {
        id: info.id.to_string(),
        service: info.service.to_string(),
        node: info.node.as_ref().map(ToString::to_string),
        state: 7,
        generation: 1,
        index: 100_000,
    };
    Mirror {
        secrets: world.cluster.secrets(&filter).into_iter().map(secret).collect(),
        services: world.cluster.services().into_iter().map(service).collect(),
        nodes: world.cluster.nodes().into_iter().map(node).collect(),
        tasks: tasks.map(task).collect(),
    }
}
