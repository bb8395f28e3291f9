//! What a step of a history asks for: mostly something that can be done.

use super::*;

impl Run {
    pub(super) fn request(&self, (what, a, b, c): Step) -> Option<Request> {
        let bench = &self.bench;
        let id = format!("s{}", a % 4);
        let secret_id = secret(&id);
        let of = service(&format!("v{}", a % 3));
        // Mostly the version that it has.
        let off = u64::from(c % 16 == 0);
        let secret_version =
            self.model.secrets.get(&secret_id).map_or(7, |secret| secret.index - off);
        let service_version = self.model.services.get(&of).map_or(7, |service| service.index - off);
        let some = labels(&[("k", if b & 1 == 0 { "x" } else { "y" })]);
        let state = [
            TaskState::New,
            TaskState::Pending,
            TaskState::Assigned,
            TaskState::Assigned,
            TaskState::Running,
            TaskState::Running,
            TaskState::Complete,
            TaskState::Failed,
        ][usize::from(c % 8)];
        let on = (b % 4 != 3).then(|| node(&format!("w{}", b % 4)));
        let of_task = task(&format!("t{}", a % 8));
        Some(match what {
            12..=16 => {
                let Request::CreateSecret { secret, internal, dates, payload, .. } =
                    bench.new_secret(&id)
                else {
                    unreachable!()
                };
                let name = match b % 8 {
                    0 => "Shared".to_owned(),
                    1 => "shared".to_owned(),
                    2 => "-bad".to_owned(),
                    _ => id,
                };
                let selector = self.selector(c / 2);
                Request::CreateSecret {
                    secret,
                    name,
                    labels: some,
                    internal,
                    dates,
                    selector,
                    payload,
                }
            }
            17..=19 => {
                let change = match b % 8 {
                    0 => SecretChange::Labels(some),
                    1 => SecretChange::Dates(Dates::default()),
                    2..=4 => SecretChange::Current(u64::from(b / 8 % 3) + 1),
                    _ => SecretChange::Selector(self.selector(b / 8)),
                };
                Request::UpdateSecret { secret: secret_id, version: secret_version, change }
            }
            20..=22 => {
                let last = self.model.secrets.get(&secret_id).map_or(0, |secret| secret.last);
                let number = last + 1 + off;
                let payload = bench.sealed(&id, number, format!("{id} {number}").as_bytes());
                Request::AddVersion { secret: secret_id, number, payload, current: b & 1 == 0 }
            }
            23 => Request::RemoveVersion { secret: secret_id, number: u64::from(b % 4) },
            24 => Request::RemoveSecret { secret: secret_id },
            25..=27 => {
                let name = if c == 1 { "V0".to_owned() } else { of.to_string() };
                let references = self.references(b, c);
                Request::CreateService { service: of, name, labels: some, references }
            }
            28..=30 => {
                let (version, references) = (service_version, self.references(b, c));
                Request::UpdateService { service: of, version, labels: some, references }
            }
            31 => Request::RollbackService { service: of, version: service_version },
            32 => Request::RemoveService { service: of },
            33..=40 => {
                let service = service(&format!("v{}", b / 4 % 3));
                Request::CreateTask { task: of_task, service, node: on, state }
            }
            41..=47 => Request::UpdateTask { task: of_task, node: on, state },
            48..=50 => Request::RefreshTask { task: of_task },
            51..=52 => Request::RemoveTask { task: of_task },
            53..=57 => {
                let node = node(&format!("w{}", a % 3));
                Request::PutNode { node, labels: some, public_key: None }
            }
            58 => Request::RemoveNode { node: node(&format!("w{}", a % 3)) },
            59 => {
                let referrer = Referrer { kind: "volume".to_owned(), id: (a % 2).to_string() };
                let secrets = (0..4).filter(|bit| b >> bit & 1 == 1);
                let secrets = secrets.map(|bit| secret(&format!("s{bit}"))).collect();
                Request::PutReferrer { referrer, secrets }
            }
            60 => {
                let referrer = Referrer { kind: "volume".to_owned(), id: (a % 2).to_string() };
                Request::RemoveReferrer { referrer }
            }
            61 if bench.cluster.payload_keys().len() < 4 => {
                bench.cluster.new_payload_key(b & 1 == 0).unwrap()
            }
            _ => bench.cluster.reseal(Time::default(), "", &Told::default()).unwrap()?,
        })
    }

    fn selector(&self, bits: u8) -> Selector {
        let one = |on: u8, value: u8| -> Required {
            if !on.is_multiple_of(4) {
                return Required::new();
            }
            [(
                "k".to_owned(),
                [None, Some("x".to_owned()), Some("y".to_owned())][usize::from(value % 3)].clone(),
            )]
            .into()
        };
        Selector { services: one(bits, bits / 4), nodes: one(bits / 2, bits / 8) }
    }

    fn references(&self, b: u8, c: u8) -> Vec<Reference> {
        let secrets = (0..4_u8).filter(|bit| b >> bit & 1 == 1);
        secrets
            .map(|bit| {
                let id = secret(&format!("s{bit}"));
                let has = self.model.secrets.get(&id).map(|secret| secret.name.clone());
                let name = if c % 32 == 3 { "other".to_owned() } else { has.unwrap_or_default() };
                let target = if c % 32 == 5 { "same".to_owned() } else { format!("f{bit}") };
                let pinned = b >> (4 + bit) & 1 == 1;
                Reference {
                    follow: if pinned { Follow::Pinned(u64::from(c % 3)) } else { Follow::Current },
                    name,
                    ..reference(&format!("s{bit}"), &target)
                }
            })
            .collect()
    }
}
