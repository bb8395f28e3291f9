//! The cluster's state at scale: what a command and the assignments that it changes cost at 1,000
//! and at 10,000 nodes, a view, and the whole state written and read, beside postcard on the same
//! objects.
#![allow(clippy::expect_used, missing_docs, reason = "a bench that fails may panic")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use nodeseal::cluster::{
    Cluster, Command, Dates, Filter, Labels, NodeInfo, Request, SecretInfo, Selector, ServiceInfo,
    TaskInfo, TaskState,
};
use nodeseal::grant::{NodeId, Reference, SecretId, ServiceId, Target, TaskId, Time};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Tasks of a node, and of a service.
const PER_NODE: usize = 10;
const PER_SERVICE: usize = 100;
/// Secrets of a service.
const SECRETS: usize = 3;
const PAYLOAD: [u8; 1024] = [7; 1024];

/// Numbers without a pattern, the same at every run (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap_or(0)
    }

    /// An id as Swarm makes them: 25 digits to the base 36.
    fn id(&mut self) -> String {
        (0..25)
            .map(|_| char::from(b"0123456789abcdefghijklmnopqrstuvwxyz"[self.below(36)]))
            .collect()
    }
}

/// A cluster of so many nodes, with 10 tasks and one secret of 1 KiB a node.
struct World {
    cluster: Cluster,
    random: Random,
    nodes: Vec<NodeId>,
    services: Vec<ServiceId>,
    secrets: Vec<(SecretId, String)>,
    tasks: Vec<TaskId>,
}

fn command(request: Request) -> Command {
    Command { at: Time::from_seconds(1_700_000_000), by: "bench".to_owned(), request }
}

fn new_secret(cluster: &Cluster, secret: &SecretId, name: &str) -> Request {
    let key = cluster.payload_key().expect("a payload key");
    Request::CreateSecret {
        secret: secret.clone(),
        name: name.to_owned(),
        labels: Labels::from([("team".to_owned(), "pay".to_owned())]),
        internal: false,
        dates: Dates::default(),
        selector: Selector::default(),
        payload: key.seal(secret, 1, &PAYLOAD).expect("sealed"),
    }
}

impl World {
    fn new(nodes: usize) -> Self {
        let mut world = Self {
            cluster: Cluster::new(),
            random: Random(nodes as u64),
            nodes: Vec::new(),
            services: Vec::new(),
            secrets: Vec::new(),
            tasks: Vec::new(),
        };
        let key = world.cluster.new_payload_key(false).expect("a key");
        world.apply(key);
        for _ in 0..nodes {
            let (secret, name) = (world.random.id(), world.random.id());
            let secret = SecretId::new(&secret).expect("an id");
            let request = new_secret(&world.cluster, &secret, &name);
            world.apply(request);
            world.secrets.push((secret, name));
            let node = NodeId::new(&world.random.id()).expect("an id");
            let labels = Labels::from([("zone".to_owned(), "a".to_owned())]);
            world.apply(Request::PutNode { node: node.clone(), labels, public_key: None });
            world.nodes.push(node);
        }
        for _ in 0..nodes * PER_NODE / PER_SERVICE {
            let service = ServiceId::new(&world.random.id()).expect("an id");
            let (name, references) = (world.random.id(), world.references());
            let (id, labels) = (service.clone(), Labels::new());
            world.apply(Request::CreateService { service: id, name, labels, references });
            world.services.push(service);
        }
        for number in 0..nodes * PER_NODE {
            let service = world.services[number % world.services.len()].clone();
            let node = world.nodes[number % nodes].clone();
            let task = TaskId::new(&world.random.id()).expect("an id");
            world.tasks.push(task.clone());
            let state = TaskState::Running;
            world.apply(Request::CreateTask { task, service, node: Some(node), state });
        }
        world
    }

    fn references(&mut self) -> Vec<Reference> {
        let reference = |number| {
            let (secret, name) = &self.secrets[self.random.below(self.secrets.len())];
            let target = Target::new(&format!("secret-{number}")).expect("a target");
            Reference::new(secret.clone(), name).expect("a reference").at(target)
        };
        (0..SECRETS).map(reference).collect()
    }

    fn apply(&mut self, request: Request) {
        let index = self.cluster.applied() + 1;
        self.cluster.apply(index, command(request)).result.expect("done");
    }

    /// What a manager does with an entry of the log: reads it, applies it, and makes up what the
    /// nodes are to be sent that it wakes.
    fn run(&mut self, bytes: &[u8]) {
        let index = self.cluster.applied() + 1;
        let outcome = self.cluster.apply(index, Command::decode(bytes).expect("a command"));
        for node in &outcome.woken {
            black_box(self.cluster.dispatch(node, Some(index - 1)).expect("a node"));
        }
        outcome.result.expect("done");
    }

    fn some_node(&mut self) -> NodeId {
        self.nodes[self.random.below(self.nodes.len())].clone()
    }

    fn some_service(&mut self) -> ServiceId {
        self.services[self.random.below(self.services.len())].clone()
    }
}

fn bytes(request: Request) -> Vec<u8> {
    command(request).encode().expose().to_vec()
}

/// A measurement's name, and the commands of one round of it: on objects that are drawn anew, and
/// such that the state has as many objects afterwards as before.
type Round = (&'static str, fn(&mut World) -> Vec<Vec<u8>>);

const ROUNDS: [Round; 4] = [
    ("task-starts-ends-goes", |world| {
        let task = TaskId::new(&world.random.id()).expect("an id");
        let (service, node) = (world.some_service(), Some(world.some_node()));
        let (id, state) = (task.clone(), TaskState::Assigned);
        let create = Request::CreateTask { task: id, service, node, state };
        let (id, state) = (task.clone(), TaskState::Complete);
        let end = Request::UpdateTask { task: id, node: None, state };
        [create, end, Request::RemoveTask { task }].map(bytes).into()
    }),
    ("task-changes-state", |world| {
        let task = world.tasks[world.random.below(world.tasks.len())].clone();
        let state = TaskState::Running;
        [Request::UpdateTask { task, node: None, state }].map(bytes).into()
    }),
    ("secret-comes-and-goes", |world| {
        let (secret, name) = (world.random.id(), world.random.id());
        let secret = SecretId::new(&secret).expect("an id");
        let create = new_secret(&world.cluster, &secret, &name);
        [create, Request::RemoveSecret { secret }].map(bytes).into()
    }),
    ("service-changes", |world| {
        let (service, references) = (world.some_service(), world.references());
        let version = world.cluster.service(&service).expect("a service").index;
        let labels = Labels::new();
        [Request::UpdateService { service, version, labels, references }].map(bytes).into()
    }),
];

fn commands(c: &mut Criterion, worlds: &mut [World]) {
    let mut group = c.benchmark_group("cluster-command");
    for (name, round) in ROUNDS {
        for world in worlds.iter_mut() {
            let size = world.nodes.len();
            group.bench_function(BenchmarkId::new(name, size), |b| {
                b.iter_custom(|rounds| {
                    let mut taken = Duration::ZERO;
                    for _ in 0..rounds {
                        let commands = round(world);
                        let begun = Instant::now();
                        commands.iter().for_each(|bytes| world.run(bytes));
                        taken += begun.elapsed();
                    }
                    taken
                });
            });
        }
    }
    group.finish();
}

/// A view, and the first command after it, which copies what the view shares.
fn views(c: &mut Criterion, worlds: &mut [World]) {
    let mut group = c.benchmark_group("cluster-view");
    for world in worlds {
        let size = world.nodes.len();
        group.bench_function(BenchmarkId::new("taken", size), |b| {
            b.iter_with_large_drop(|| world.cluster.clone());
        });
        group.bench_function(BenchmarkId::new("task-changes-state-after-it", size), |b| {
            b.iter_custom(|rounds| {
                let mut taken = Duration::ZERO;
                for _ in 0..rounds {
                    let view = world.cluster.clone();
                    let commands = ROUNDS[1].1(world);
                    let begun = Instant::now();
                    world.run(&commands[0]);
                    taken += begun.elapsed();
                    drop(view);
                }
                taken
            });
        });
    }
    group.finish();
}

/// The same objects as the state has them, for postcard.
#[derive(Serialize, Deserialize)]
struct Mirror {
    secrets: Vec<MirrorSecret>,
    services: Vec<MirrorService>,
    nodes: Vec<MirrorNode>,
    tasks: Vec<MirrorTask>,
}

#[derive(Serialize, Deserialize)]
struct MirrorSecret {
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
struct MirrorService {
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
struct MirrorNode {
    id: String,
    labels: Labels,
    public_key: Option<[u8; 32]>,
    meta: [u64; 3],
    report: Option<[u64; 5]>,
    sequence: u64,
}

#[derive(Serialize, Deserialize)]
struct MirrorTask {
    id: String,
    service: String,
    node: Option<String>,
    state: u8,
    generation: u64,
    index: u64,
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

fn mirror(world: &World) -> Mirror {
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

/// Each side as its own restoring leaves it in memory. Ours also builds every index again.
fn states(c: &mut Criterion, world: &World) {
    let mut group = c.benchmark_group("cluster-state");
    let (ours, theirs) =
        (world.cluster.encode(), postcard::to_allocvec(&mirror(world)).expect("encoded"));
    let cluster = Cluster::decode(ours.expose()).expect("decoded");
    let mirror: Mirror = postcard::from_bytes(&theirs).expect("decoded");
    println!("state: {} bytes, postcard's {} bytes", ours.len(), theirs.len());
    group.throughput(Throughput::Bytes(ours.len() as u64)).sample_size(20);
    group.bench_function("encode", |b| b.iter_with_large_drop(|| cluster.encode()));
    group.bench_function("encode-postcard", |b| {
        b.iter_with_large_drop(|| postcard::to_allocvec(&mirror).expect("encoded"));
    });
    group.bench_function("restore", |b| {
        b.iter_with_large_drop(|| Cluster::decode(ours.expose()).expect("decoded"));
    });
    group.bench_function("restore-postcard", |b| {
        b.iter_with_large_drop(|| postcard::from_bytes::<Mirror>(&theirs).expect("decoded"));
    });
    group.finish();
}

fn cluster(c: &mut Criterion) {
    let mut worlds = [1_000, 10_000].map(World::new);
    commands(c, &mut worlds);
    views(c, &mut worlds);
    states(c, &worlds[1]);
}

criterion_group!(benches, cluster);
criterion_main!(benches);
