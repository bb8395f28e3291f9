//! The commands on an embedded store, as their users call them.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

#[path = "support/command.rs"]
mod support;

use std::fs;
use std::path::Path;
use std::process::Output;

use nodeseal::audit::{Action, Event};
use nodeseal::grant::Time;
use serde_json::Value;
use support::run;

const PAYLOAD: &str = "correct horse battery staple";

/// A store in a folder of its own.
struct Data {
    dir: tempfile::TempDir,
    key: Option<String>,
}

impl Data {
    fn new() -> Self {
        let data = Self { dir: tempfile::tempdir().unwrap(), key: None };
        let made = run(&["init", "--data-dir", &data.path()], b"");
        assert!(made.status.success(), "{}", err(&made));
        assert!(made.stdout.is_empty() && err(&made).contains("NOT locked"));
        data
    }

    fn locked() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let made = run(&["init", "--autolock", "--data-dir", path.to_str().unwrap()], b"");
        let key = out(&made);
        assert!(key.starts_with("SWMKEY-1-") && key.len() == 53, "{}", err(&made));
        Self { dir, key: Some(key) }
    }

    fn path(&self) -> String {
        self.dir.path().join("data").to_str().unwrap().to_owned()
    }

    /// Runs a command on the store. `input` is for a payload of `-`.
    fn run(&self, words: &[&str], input: &str) -> Output {
        let (path, key_file) = (self.path(), self.dir.path().join("key"));
        let mut args = words.to_vec();
        args.extend(["--data-dir", &path]);
        if let Some(key) = &self.key {
            write(&key_file, key.as_bytes());
            args.extend(["--unlock-key-file", key_file.to_str().unwrap()]);
        }
        run(&args, input.as_bytes())
    }

    /// What a command that succeeds prints, without the last line end.
    fn ok(&self, words: &[&str]) -> String {
        self.ok_with(words, "")
    }

    fn ok_with(&self, words: &[&str], input: &str) -> String {
        let output = self.run(words, input);
        assert!(output.status.success(), "{words:?}: {}", err(&output));
        out(&output).trim_end_matches('\n').to_owned()
    }

    /// Code and message of a command that fails.
    fn fails(&self, words: &[&str], input: &str) -> (i32, String) {
        let output = self.run(words, input);
        assert!(!output.status.success(), "{words:?}: {}", out(&output));
        (output.status.code().unwrap(), err(&output))
    }

    fn audit_file(&self) -> std::path::PathBuf {
        self.dir.path().join("data/audit.log")
    }
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "a test's own files")]
fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
}

/// Every byte in a folder's files.
fn bytes_below(dir: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(bytes_below(&path));
        } else {
            all.extend(fs::read(&path).unwrap());
        }
    }
    all
}

#[test]
fn create_prints_the_id_and_ls_the_columns_of_docker() {
    let data = Data::locked();
    let id = data
        .ok_with(&["secret", "create", "db_password", "-", "-l", "env=prod", "-l", "x"], PAYLOAD);
    assert_eq!(id.len(), 25);
    let file = data.dir.path().join("payload");
    write(&file, PAYLOAD.as_bytes());
    let other = data.ok(&["secret", "create", "db_old10", file.to_str().unwrap()]);
    let third = data.ok_with(&["secret", "create", "db_old9", "-"], "x");

    let listed = data.ok(&["secret", "ls"]);
    let lines: Vec<&str> = listed.lines().collect();
    assert!(lines[0].starts_with("ID                          NAME          DRIVER    CREATED"));
    assert!(lines[0].ends_with("UPDATED"));
    let ids: Vec<&str> = lines[1..].iter().map(|line| &line[..25]).collect();
    assert_eq!(ids, [&*third, &*other, &*id], "in their natural order");
    assert!(lines[3].contains("db_password             ") && lines[3].ends_with("ago"));
    assert_eq!(data.ok(&["secret", "ls", "-q"]), [&*third, &*other, &*id].join("\n"));
    let only = |filter: &str| data.ok(&["secret", "ls", "-q", "-f", filter]);
    assert_eq!(only("name=db_p"), id);
    assert_eq!(only(&format!("id={}", &other[..8])), other);
    assert_eq!(only("label=env=prod"), id);
    assert_eq!(only("label=x"), id);
    assert_eq!(only("label=env=test"), "");
    let (code, said) = data.fails(&["secret", "ls", "-f", "driver=x"], "");
    assert!(code == 1 && said.contains("invalid filter 'driver'"));
    let line = data.ok(&["secret", "ls", "--format", "json", "-f", "name=db_p"]);
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["ID"], *id);
    assert_eq!(line["Labels"], "env=prod,x=");
    assert_eq!(line["Driver"], "");

    let (code, said) = data.fails(&["secret", "create", "DB_PASSWORD", "-"], PAYLOAD);
    assert!(code == 1 && said.contains("already exists"), "{said}");
    for name in ["", "x-", "a/b", &"n".repeat(65)] {
        assert_eq!(data.fails(&["secret", "create", name, "-"], "x").0, 1, "{name}");
    }
    for payload in [String::new(), "x".repeat(512_000)] {
        let (code, said) = data.fails(&["secret", "create", "size", "-"], &payload);
        assert_eq!(code, 1);
        assert!(said.contains("secret data must be larger than 0 and less than 512000 bytes"));
    }
    data.ok_with(&["secret", "create", "size", "-"], &"x".repeat(511_999));
}

#[test]
fn inspect_prints_what_docker_prints_and_never_a_payload() {
    let data = Data::new();
    let id = data.ok_with(&["secret", "create", "db_password", "-", "-l", "env=prod"], PAYLOAD);
    for word in [&*id, "DB_password", &id[..10]] {
        let text = data.ok(&["secret", "inspect", word]);
        assert!(text.starts_with("[\n    {\n        \"ID\": \""), "{text}");
        let found: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(found[0]["ID"], *id);
        assert!(found[0]["Version"]["Index"].as_u64().unwrap() > 0);
        assert!(found[0]["CreatedAt"].as_str().unwrap().ends_with('Z'));
        assert_eq!(found[0]["Spec"]["Name"], "db_password");
        assert_eq!(found[0]["Spec"]["Labels"]["env"], "prod");
    }
    let output = data.run(&["secret", "inspect", "nope", "db_password"], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("secret nope not found"));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found.as_array().unwrap().len(), 1, "what is there is printed");
    for words in
        [&["secret", "inspect", "db_password"][..], &["secret", "ls"], &["audit", "verify"]]
    {
        let output = data.run(words, "");
        assert!(!out(&output).contains(PAYLOAD) && !err(&output).contains(PAYLOAD));
    }
}

#[test]
fn rm_goes_on_after_an_error_and_refuses_what_is_in_use() {
    let data = Data::new();
    for name in ["a", "b", "c"] {
        data.ok_with(&["secret", "create", name, "-"], PAYLOAD);
    }
    data.ok(&["service", "create", "web", "--secret", "b"]);
    let output = data.run(&["secret", "rm", "a", "b", "nope", "c"], "");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(out(&output), "a\nc\n");
    assert!(err(&output).contains("secret 'b' is in use by the following service: web"));
    assert!(err(&output).contains("secret nope not found"));
    // Neither does a service let go of a secret to which it may be rolled back.
    data.ok(&["service", "update", "web", "--secret-rm", "b"]);
    let (_, said) = data.fails(&["secret", "rm", "b"], "");
    assert!(said.contains("web (previous specification)"), "{said}");
    assert_eq!(data.ok(&["service", "rm", "web"]), "web");
    assert_eq!(data.ok(&["secret", "rm", "b"]), "b");
    assert_eq!(data.ok(&["secret", "ls", "-q"]), "");
}

#[test]
fn references_are_read_as_docker_reads_them() {
    let data = Data::new();
    for name in ["old", "new"] {
        data.ok_with(&["secret", "create", name, "-"], PAYLOAD);
    }
    let refused = |spec: &str, why: &str| {
        let (code, said) = data.fails(&["service", "create", "web", "--secret", spec], "");
        assert!(code == 1 && said.contains(why), "{spec}: {said}");
    };
    refused("nope", "secret not found: nope");
    refused("source=old,colour=red", "invalid field in secret request: colour");
    refused("source=old,target", "invalid field 'target' must be a key=value pair");
    refused("target=x", "source is required");
    refused("source=old,mode=999", "invalid mode specified");
    refused("source=old,uid=root", "uid or gid");
    refused("source=old,target=../../etc/passwd", "`..`");
    refused("source=old,target=/etc/passwd", "absolute");
    refused("source=old,version=9", "version");
    let twice =
        ["service", "create", "web", "--secret", "old", "--secret", "source=new,target=old"];
    assert!(data.fails(&twice, "").1.contains("duplicate secret target for old not allowed"));

    data.ok(&["service", "create", "web", "--secret", "source=old,uid=7,gid=8,mode=0400"]);
    // Docker's rotation.
    data.ok(&[
        "service",
        "update",
        "web",
        "--secret-rm",
        "old",
        "--secret-add",
        "source=new,target=old",
    ]);
    data.ok(&["service", "update", "web", "--secret-rm", "never-there"]);
    let (_, said) =
        data.fails(&["service", "update", "web", "--secret-add", "source=new,target=old"], "");
    assert!(said.contains("same target"), "{said}");
    assert_eq!(data.ok(&["service", "update", "web", "--rollback"]), "web");
    assert!(
        data.fails(&["service", "update", "nope", "--secret-rm", "old"], "")
            .1
            .contains("not found")
    );
}

/// An operator's policy over what developers ask for: at grant, at the task, and whenever it changes.
#[test]
fn selectors_keep_a_secret_from_services_and_nodes_without_their_labels() {
    let data = Data::new();
    let create = ["secret", "create", "card_key", "-", "--service-selector", "team=pay"];
    data.ok_with(
        &[&create[..], &["--node-selector", "zone=pci", "-l", "env=prod"]].concat(),
        PAYLOAD,
    );
    let shown: Value = serde_json::from_str(&data.ok(&["secret", "inspect", "card_key"])).unwrap();
    assert_eq!(shown[0]["Selector"]["services"]["team"], "pay");
    assert_eq!(shown[0]["Selector"]["nodes"]["zone"], "pci");
    for bad in ["=x", ""] {
        let words = ["secret", "create", "x", "-", "--node-selector", bad];
        let (code, said) = data.fails(&words, PAYLOAD);
        assert!(code == 1 && said.contains("expected KEY[=VALUE]"), "{said}");
    }
    let twice = ["secret", "create", "x", "-", "--node-selector", "a=1", "--node-selector", "a=2"];
    assert!(data.fails(&twice, PAYLOAD).1.contains("asks for label a twice"));

    let refused = |words: &[&str], whom: &str| {
        let (code, said) = data.fails(words, "");
        let expected = format!("the policy of secret 'card_key' does not allow {whom}");
        assert!(code == 1 && said.contains(&expected), "{words:?}: {said}");
    };
    refused(&["service", "create", "web", "--secret", "card_key"], "service web");
    refused(&["service", "create", "web", "--secret", "card_key", "-l", "team=ads"], "service web");
    data.ok(&["service", "create", "web", "--secret", "card_key", "-l", "team=pay"]);
    refused(&["task", "run", "web", "--node", "w1"], "node w1");
    assert_eq!(data.ok(&["node", "add", "w2", "-l", "zone=dmz"]), "w2");
    refused(&["task", "run", "web", "--node", "w2"], "node w2");
    assert_eq!(data.ok(&["node", "update", "w2", "--label-add", "zone=pci"]), "w2");
    let task = data.ok(&["task", "run", "web", "--node", "w2"]);

    // What the labels or the policy no more allow is gone from the node, and comes back with them.
    let last = || {
        let text = fs::read_to_string(data.audit_file()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut moves = lines.filter(|line| line["task"] == task.as_str());
        moves.next_back().unwrap()["action"].as_str().unwrap().to_owned()
    };
    assert_eq!(last(), "assign");
    data.ok(&["node", "update", "w2", "--label-rm", "zone"]);
    assert_eq!(last(), "release");
    assert_eq!(data.ok(&["secret", "update", "card_key", "--any-node"]), "card_key");
    assert_eq!(last(), "assign");
    data.ok(&["secret", "update", "card_key", "--service-selector", "team=ads"]);
    assert_eq!(last(), "release");
    refused(&["service", "update", "web", "--secret-rm", "nothing"], "service web");
    data.ok(&["service", "update", "web", "--label-add", "team=ads"]);
    assert_eq!(last(), "assign");
    data.ok(&["secret", "update", "card_key", "--any-service", "--label-rm", "env"]);
    data.ok(&["service", "update", "web", "--label-rm", "team"]);
    assert_eq!(last(), "assign");
    let shown: Value = serde_json::from_str(&data.ok(&["secret", "inspect", "card_key"])).unwrap();
    assert!(shown[0].get("Selector").is_none() && shown[0]["Spec"]["Labels"]["env"].is_null());
}

#[test]
fn nodes_are_listed_inspected_labelled_and_removed() {
    let data = Data::new();
    assert_eq!(data.ok(&["node", "ls"]), "ID        TASKS     LABELS");
    data.ok(&["node", "add", "w10", "-l", "zone=pci", "-l", "ssd"]);
    data.ok(&["service", "create", "web"]);
    data.ok(&["task", "run", "web", "--node", "w1"]);
    let list = data.ok(&["node", "ls"]);
    let lines =
        ["ID        TASKS     LABELS", "w1        1         ", "w10       0         ssd=,zone=pci"];
    assert_eq!(list, lines.join("\n"));
    assert_eq!(data.ok(&["node", "ls", "-q"]), "w1\nw10");
    let output = data.run(&["node", "inspect", "nope", "w10"], "");
    assert!(output.status.code() == Some(1) && err(&output).contains("node nope not found"));
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&shown[0]["ID"], &shown[0]["Tasks"]), (&"w10".into(), &0.into()));
    assert_eq!(shown[0]["Spec"]["Labels"]["zone"], "pci");
    let before = shown[0]["Version"]["Index"].as_u64().unwrap();

    data.ok(&["node", "update", "w10", "--label-add", "zone=dmz", "--label-rm", "ssd"]);
    let shown: Value = serde_json::from_str(&data.ok(&["node", "inspect", "w10"])).unwrap();
    assert_eq!(shown[0]["Spec"]["Labels"], serde_json::json!({"zone": "dmz"}));
    assert!(shown[0]["Version"]["Index"].as_u64().unwrap() > before);
    for (words, why) in [
        (
            &["node", "update", "w10", "--label-rm", "ssd"][..],
            "key ssd doesn't exist in node's labels",
        ),
        (&["node", "update", "w9", "--label-add", "a"], "node w9 not found"),
        (&["node", "update", "w10", "--label-add", "=a"], "a label has no key"),
        (&["node", "add", "w10"], "node w10 already exists"),
        (&["node", "add", "-l", "a", "w/9"], "node id"),
    ] {
        let (code, said) = data.fails(words, "");
        assert!(code == 1 && said.contains(why), "{words:?}: {said}");
    }
    let output = data.run(&["node", "rm", "w1", "w10", "w9"], "");
    assert_eq!((output.status.code(), &*out(&output)), (Some(1), "w10\n"));
    assert!(err(&output).contains("node 'w1' is in use by"), "{}", err(&output));
    assert!(err(&output).contains("node w9 not found"));
}

#[test]
fn keys_are_told_apart_from_damage_and_nothing_opens_without_one() {
    let mut data = Data::locked();
    data.ok_with(&["secret", "create", "db_password", "-"], PAYLOAD);
    let all = bytes_below(Path::new(&data.path()));
    let contains = |part: &str| all.windows(part.len()).any(|window| window == part.as_bytes());
    assert!(!contains(PAYLOAD));
    assert!(!contains(&data.key.as_ref().unwrap()[9..52]));

    let path = data.path();
    let without = run(&["secret", "ls", "--data-dir", &path], b"");
    assert_eq!(without.status.code(), Some(3));
    let other = nodeseal::UnlockKey::generate().unwrap().to_text().to_string();
    let key = data.key.replace(other);
    assert_eq!(data.fails(&["secret", "ls"], "").0, 3);
    data.key = key;
    let both = ["secret", "create", "x", "-", "--data-dir", &path, "--unlock-key-file", "-"];
    assert!(err(&run(&both, b"x")).contains("only one of payload and unlock key"));
    assert_eq!(run(&["init", "--data-dir", &path], b"").status.code(), Some(1));
    // A payload is no argument.
    let argument = ["secret", "create", "x", PAYLOAD];
    assert!(data.fails(&argument, "").1.contains("No such file"));
    data.ok(&["audit", "verify"]);
}

#[test]
fn the_audit_file_tells_what_happened_and_which_line_was_changed() {
    let data = Data::locked();
    data.ok_with(&["secret", "create", "db_password", "-"], PAYLOAD);
    data.ok(&["service", "create", "web", "--secret", "db_password"]);
    data.fails(&["secret", "rm", "db_password"], "");
    data.ok(&["service", "rm", "web"]);
    data.ok(&["secret", "rm", "db_password"]);
    let text = fs::read_to_string(data.audit_file()).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let actions: Vec<&str> = lines
        .iter()
        .map(|line| line["action"].as_str().unwrap())
        .filter(|action| *action != "unlock")
        .collect();
    let expected =
        ["payload-key.rotate", "secret.create", "grant", "refuse", "revoke", "secret.remove"];
    assert_eq!(actions, expected);
    assert!(!text.contains(PAYLOAD));
    let verified = data.ok(&["audit", "verify"]);
    // The verification unlocks too.
    assert_eq!(verified, format!("{} lines, whole and in their order", lines.len() + 1));

    // An edited line, and a cut.
    let whole = fs::read_to_string(data.audit_file()).unwrap();
    write(&data.audit_file(), whole.replace("secret.remove", "secret.create").as_bytes());
    let (code, said) = data.fails(&["audit", "verify"], "");
    let line = whole.lines().position(|line| line.contains("secret.remove")).unwrap() + 1;
    assert!(code == 4 && said.contains(&format!("(entry {line})")), "{said}");
    let cut: String = whole.split_inclusive('\n').take(3).collect();
    write(&data.audit_file(), cut.as_bytes());
    let (code, said) = data.fails(&["secret", "ls"], "");
    assert!(code == 4 && said.contains("cut before this line") && said.contains("(entry 4)"));
    // Also together with an end mark of that time: the store remembers.
    fs::remove_file(data.audit_file()).unwrap();
    assert_eq!(data.fails(&["audit", "verify"], "").0, 4);

    let output = data.run(&["audit", "restart"], "");
    assert!(output.status.success(), "{}", err(&output));
    data.ok(&["audit", "verify"]);
    data.ok_with(&["secret", "create", "next", "-"], PAYLOAD);
}

/// The audit file's key is behind the lock: what failed becomes lines of it at the next unlock.
#[test]
fn failed_unlocks_become_lines_of_the_audit_file_at_the_next_unlock() {
    let mut data = Data::locked();
    let note = data.dir.path().join("data/unlock-failures");
    let count = |data: &Data| data.ok(&["audit", "verify"]);
    count(&data);
    assert!(!note.exists());
    let fails = |data: &mut Data, times: u32| {
        let other = nodeseal::UnlockKey::generate().unwrap().to_text().to_string();
        let key = data.key.replace(other);
        (0..times).for_each(|_| assert_eq!(data.fails(&["secret", "ls"], "").0, 3));
        data.key = key;
    };
    let failures = |data: &Data| -> Vec<Value> {
        let text = fs::read_to_string(data.audit_file()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["action"] == "unlock.fail").collect()
    };
    fails(&mut data, 3);
    assert_eq!(failures(&data).len(), 0);
    let mode = fs::metadata(&note).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);
    data.ok_with(&["secret", "create", "a", "-"], PAYLOAD);
    let found = failures(&data);
    assert_eq!(found.len(), 3);
    for line in found {
        assert_eq!(line["node"], "node");
        assert!(line["by"].as_str().unwrap().starts_with("uid "), "{line}");
        assert!(line["detail"].as_str().unwrap().ends_with("(noted while locked)"), "{line}");
    }
    assert!(!note.exists(), "told once");
    count(&data);
    assert_eq!(failures(&data).len(), 3);

    // Whoever writes into the note puts no other event into the audit file, and stops nothing.
    fails(&mut data, 1);
    let mut bytes = fs::read(&note).unwrap();
    let forged = Event::new(Action::SecretRemoved, Time::from_seconds(1)).encode();
    bytes.extend_from_slice(&u16::try_from(forged.len()).unwrap().to_le_bytes());
    bytes.extend_from_slice(&forged);
    write(&note, &bytes);
    count(&data);
    let found = failures(&data);
    assert_eq!(found.len(), 5);
    assert_eq!(found[4]["detail"], "what was noted of further ones is damaged");
    assert!(!fs::read_to_string(data.audit_file()).unwrap().contains("secret.remove"));

    // It does not grow without end, and says that it did not.
    write(&note, &vec![0; 64 << 10]);
    fails(&mut data, 2);
    assert_eq!(fs::metadata(&note).unwrap().len(), 64 << 10);
    count(&data);
    assert_eq!(failures(&data).last().unwrap()["detail"], "more were not noted");
}

#[test]
fn an_old_audit_file_that_is_put_back_with_its_end_mark_shows() {
    let data = Data::new();
    data.ok_with(&["secret", "create", "a", "-"], PAYLOAD);
    let end = data.dir.path().join("data/audit.log.end");
    let old = [data.audit_file(), end].map(|path| (path.clone(), fs::read(path).unwrap()));
    data.ok(&["secret", "rm", "a"]);
    for (path, bytes) in old {
        write(&path, &bytes);
    }
    let (code, said) = data.fails(&["audit", "verify"], "");
    assert!(code == 4 && said.contains("rolled back"), "{said}");
}

/// After a thousand commands a snapshot takes the log's place.
#[test]
fn a_long_log_is_compacted_and_nothing_is_lost() {
    let data = Data::new();
    data.ok_with(&["secret", "create", "keep", "-"], PAYLOAD);
    let tasks: Vec<String> = (0..1100).map(|n| format!("t{n}")).collect();
    // Each is refused, and each is an entry: there is no such task.
    let words: Vec<&str> = ["task", "stop"].into_iter().chain(tasks.iter().map(|t| &**t)).collect();
    assert_eq!(data.fails(&words, "").0, 1);
    let log = data.dir.path().join("data/log");
    let names: Vec<String> = fs::read_dir(&log)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(names.iter().any(|name| name.ends_with(".snap")), "{names:?}");
    assert_eq!(data.ok(&["secret", "ls", "-q"]).len(), 25);
    data.ok(&["service", "create", "web", "--secret", "keep"]);
    assert!(data.fails(&["secret", "rm", "keep"], "").1.contains("in use"));
}

/// Delivery in place, in memory: what needs no right to mount.
#[cfg(target_os = "linux")]
#[test]
fn deliver_brings_the_folder_in_line_with_what_is_assigned() {
    let data = Data::locked();
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let dir = memory.path().join("secrets");
    let dir = dir.to_str().unwrap();
    let me = std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").unwrap());
    let gid = std::os::unix::fs::MetadataExt::gid(&fs::metadata("/proc/self").unwrap());
    data.ok_with(&["secret", "create", "db_password", "-"], PAYLOAD);
    data.ok_with(&["secret", "create", "other", "-"], "not for them");
    let spec = format!("source=db_password,target=db/password,uid={me},gid={gid},mode=0400");
    data.ok(&["service", "create", "web", "--secret", &spec]);
    let deliver =
        |node: &str| data.run(&["deliver", "--node", node, "--dir", dir, "--in-place"], "");

    let nothing = deliver("w1");
    assert!(nothing.status.success() && nothing.stdout.is_empty(), "{}", err(&nothing));
    let one = data.ok(&["task", "run", "web", "--node", "w1"]);
    let two = data.ok(&["task", "run", "web", "--node", "w1"]);
    let elsewhere = data.ok(&["task", "run", "web", "--node", "w2"]);
    let output = deliver("w1");
    assert!(output.status.success(), "{}", err(&output));
    let mut lines: Vec<String> = out(&output).lines().map(str::to_owned).collect();
    lines.sort();
    let mut expected = [&one, &two].map(|task| format!("{task} {dir}/{task}"));
    expected.sort();
    assert_eq!(lines, expected);
    assert!(err(&output).contains("no tmpfs of its own"), "what is missing is said");
    assert!(!Path::new(dir).join(&elsewhere).exists());
    let file = |task: &str| Path::new(dir).join(task).join("db/password");
    assert_eq!(fs::read_to_string(file(&one)).unwrap(), PAYLOAD);

    // Running tasks keep what they have, unless told otherwise.
    assert_eq!(data.ok_with(&["secret", "rotate", "db_password", "-"], "version two"), "2");
    assert!(deliver("w1").status.success());
    assert_eq!(fs::read_to_string(file(&one)).unwrap(), PAYLOAD);
    data.ok_with(&["secret", "rotate", "db_password", "-", "--refresh"], "version three");
    assert!(deliver("w1").status.success());
    assert_eq!(fs::read_to_string(file(&one)).unwrap(), "version three");

    assert_eq!(data.ok(&["task", "stop", &one]), one);
    let output = deliver("w1");
    assert!(err(&output).contains(&format!("took away what {one} had")), "{}", err(&output));
    assert!(!file(&one).exists() && file(&two).exists());
    data.ok(&["service", "rm", "web"]);
    let output = deliver("w1");
    assert!(output.status.success() && output.stdout.is_empty());
    assert!(!file(&two).exists());
    let text = fs::read_to_string(data.audit_file()).unwrap();
    for action in ["open", "deliver", "withdraw", "assign", "release"] {
        assert!(text.contains(&format!("\"action\":\"{action}\"")), "{action}");
    }
    data.ok(&["audit", "verify"]);
    let disk = tempfile::tempdir().unwrap();
    let on_disk = disk.path().join("secrets");
    let words = ["deliver", "--node", "w1", "--in-place", "--dir", on_disk.to_str().unwrap()];
    let (code, said) = data.fails(&words, "");
    assert!(code == 1 && said.contains("is not memory-backed"), "{said}");
}
