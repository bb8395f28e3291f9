use std::hint::black_box;

use nodeseal::cluster::{Cluster, Command, Dates, Labels, Request, Selector, TaskState};
use nodeseal::grant::{NodeId, Reference, SecretId, ServiceId, Target, TaskId, Time};

/// Nodes of a part, and its secrets.
const NODES: usize = 1000;
/// Tasks of a node, and of a service.
const PER_NODE: usize = 10;
const PER_SERVICE: usize = 100;
/// Secrets of a service.
const SECRETS: usize = 3;
pub const PAYLOAD: [u8; 1024] = [7; 1024];

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

/// A cluster of equal parts: 1,000 nodes with 10 tasks and one secret of 1 KiB a node, and 100
/// services whose tasks and secrets are of the part. However many parts there are, a node has as
/// much of everything.
pub struct World {
    pub cluster: Cluster,
    random: Random,
    /// From how many parts objects are drawn.
    drawn: usize,
    nodes: Vec<NodeId>,
    pub services: Vec<ServiceId>,
    secrets: Vec<(SecretId, String)>,
    tasks: Vec<TaskId>,
}

/// What a round of a measurement is: commands on objects that are drawn anew, such that the state
/// has as many objects afterwards as before.
pub type Round = (&'static str, fn(&mut World) -> Vec<Vec<u8>>);

pub const TASK_CHANGES: Round = ("task-changes-state", |world| {
    let at = world.drawn * NODES * PER_NODE;
    let task = world.tasks[world.random.below(at)].clone();
    [Request::UpdateTask { task, node: None, state: TaskState::Running }].map(bytes).into()
});

const TASK_COMES_AND_GOES: Round = ("task-starts-ends-goes", |world| {
    let task = TaskId::new(&world.random.id()).expect("an id");
    let (service, node) = (world.some_service(), Some(world.some_node()));
    let (id, state) = (task.clone(), TaskState::Assigned);
    let create = Request::CreateTask { task: id, service, node, state };
    let (id, state) = (task.clone(), TaskState::Complete);
    let end = Request::UpdateTask { task: id, node: None, state };
    [create, end, Request::RemoveTask { task }].map(bytes).into()
});

pub const ROUNDS: [Round; 4] = [
    TASK_COMES_AND_GOES,
    TASK_CHANGES,
    ("secret-comes-and-goes", |world| {
        let (secret, name) = (world.random.id(), world.random.id());
        let secret = SecretId::new(&secret).expect("an id");
        let create = new_secret(&world.cluster, &secret, &name);
        [create, Request::RemoveSecret { secret }].map(bytes).into()
    }),
    ("service-changes", |world| {
        let service = world.some_service();
        let part = world.random.below(world.drawn);
        let references = world.references(part);
        let version = world.cluster.service(&service).expect("a service").index;
        let labels = Labels::new();
        [Request::UpdateService { service, version, labels, references }].map(bytes).into()
    }),
];

fn command(request: Request) -> Command {
    Command { at: Time::from_seconds(1_700_000_000), by: "bench".to_owned(), request }
}

fn bytes(request: Request) -> Vec<u8> {
    command(request).encode().expose().to_vec()
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
    pub fn new(parts: usize) -> Self {
        let mut world = Self {
            cluster: Cluster::new(),
            random: Random(parts as u64),
            drawn: parts,
            nodes: Vec::new(),
            services: Vec::new(),
            secrets: Vec::new(),
            tasks: Vec::new(),
        };
        let key = world.cluster.new_payload_key(false).expect("a key");
        world.apply(key);
        // In turn, so that no part lies closer together in memory than another.
        for _ in 0..NODES {
            (0..parts).for_each(|_| world.add_node());
        }
        // From here on the nodes and secrets of a part stand together.
        world.nodes = gather(&world.nodes, parts);
        world.secrets = gather(&world.secrets, parts);
        for part in 0..parts {
            for _ in 0..NODES * PER_NODE / PER_SERVICE {
                let service = ServiceId::new(&world.random.id()).expect("an id");
                let (name, references) = (world.random.id(), world.references(part));
                let (id, labels) = (service.clone(), Labels::new());
                world.apply(Request::CreateService { service: id, name, labels, references });
                world.services.push(service);
            }
        }
        for number in 0..NODES * PER_NODE {
            for part in 0..parts {
                let services = NODES * PER_NODE / PER_SERVICE;
                let service = world.services[part * services + number % services].clone();
                let node = world.nodes[part * NODES + number / PER_NODE].clone();
                let task = TaskId::new(&world.random.id()).expect("an id");
                world.tasks.push(task.clone());
                let (node, state) = (Some(node), TaskState::Running);
                world.apply(Request::CreateTask { task, service, node, state });
            }
        }
        world.tasks = gather(&world.tasks, parts);
        // Every node has as many changes to remember as it ever will.
        for _ in 0..parts * NODES * 20 {
            let commands = TASK_COMES_AND_GOES.1(&mut world);
            commands.iter().for_each(|bytes| world.run(bytes));
        }
        world
    }

    /// From now on, objects are drawn from so many parts.
    pub const fn draw_from(&mut self, parts: usize) {
        self.drawn = parts;
    }

    /// How many parts there are.
    pub const fn parts(&self) -> usize {
        self.nodes.len() / NODES
    }

    fn add_node(&mut self) {
        let (secret, name) = (self.random.id(), self.random.id());
        let secret = SecretId::new(&secret).expect("an id");
        let request = new_secret(&self.cluster, &secret, &name);
        self.apply(request);
        self.secrets.push((secret, name));
        let node = NodeId::new(&self.random.id()).expect("an id");
        let labels = Labels::from([("zone".to_owned(), "a".to_owned())]);
        self.apply(Request::PutNode { node: node.clone(), labels, public_key: None });
        self.nodes.push(node);
    }

    fn references(&mut self, part: usize) -> Vec<Reference> {
        let reference = |number| {
            let (secret, name) = &self.secrets[part * NODES + self.random.below(NODES)];
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
    pub fn run(&mut self, bytes: &[u8]) {
        let index = self.cluster.applied() + 1;
        let outcome = self.cluster.apply(index, Command::decode(bytes).expect("a command"));
        for node in &outcome.woken {
            black_box(self.cluster.dispatch(node, Some(index - 1)).expect("a node"));
        }
        outcome.result.expect("done");
    }

    fn some_node(&mut self) -> NodeId {
        self.nodes[self.random.below(self.drawn * NODES)].clone()
    }

    fn some_service(&mut self) -> ServiceId {
        let services = self.drawn * NODES * PER_NODE / PER_SERVICE;
        self.services[self.random.below(services)].clone()
    }
}

/// Puts together what came in turn.
fn gather<T: Clone>(all: &[T], parts: usize) -> Vec<T> {
    (0..parts).flat_map(|part| all.iter().skip(part).step_by(parts).cloned()).collect()
}
