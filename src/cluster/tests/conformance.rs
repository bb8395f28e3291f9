//! Swarm's own tests of dispatcher, control API and agent, and the test here that pins the same.

/// Each of Swarm's tests, and the one here whose comment names it.
const PINNED: [(&str, &str); 17] = [
    (
        "TestAssignmentsInitialNodeTasks",
        "the_first_assignment_is_complete_and_later_ones_tell_the_difference",
    ),
    ("TestAssignmentsAddingTasks", "tasks_that_come_bring_only_what_the_node_lacks"),
    ("TestAssignmentsDependencyUpdateAndDeletion", "changes_of_a_secret_wake_nobody"),
    ("TestTasksStatusChange", "changes_of_a_tasks_state_are_not_echoed"),
    ("TestTasksBatch", "a_node_gets_what_it_missed_or_all"),
    ("TestValidateSecretSpec", "a_secret_needs_a_valid_name_and_a_payload"),
    ("TestCreateSecret", "a_created_secret_is_inspected_without_its_payload"),
    ("TestGetSecret", "a_word_finds_a_secret"),
    ("TestUpdateSecret", "an_update_replaces_labels_and_checks_the_version"),
    ("TestRemoveUnusedSecret", "an_unused_secret_is_removed_once"),
    ("TestRemoveUsedSecret", "a_secret_that_anything_refers_to_is_not_removed"),
    ("TestListSecrets", "lists_are_filtered_and_in_the_order_of_names"),
    ("TestSecretValidation", "a_services_references_are_checked_at_create_and_update"),
    ("TestUpdateClusterRotateUnlockKey", "the_lock_record_follows_swarms_rules"),
    ("TestTaskRestrictedSecretsProvider", "a_task_sees_what_it_was_granted_and_nothing_else"),
    ("TestWorkerAssign", "a_complete_assignment_replaces_everything"),
    ("TestWorkerUpdate", "changes_are_made_in_their_order"),
];

/// Those of things that are not here: sessions of a transport, plugins, volumes and templates.
const NOT_HERE: [&str; 5] = [
    "TestAssignmentsErrorsIfNoSessionID",
    "TestAssignmentsSecretDriver",
    "TestAssignVolume",
    "TestAssignmentsWithVolume",
    "TestTemplatedSecret",
];

const SOURCES: [&str; 4] = [
    include_str!("control.rs"),
    include_str!("dispatcher.rs"),
    include_str!("keys.rs"),
    include_str!("../../delivery/assigned/tests.rs"),
];

/// The names of Swarm's tests in the comment of a test here, and that test's name.
fn named() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for source in SOURCES {
        let (mut comment, mut is_test) = (String::new(), false);
        for line in source.lines() {
            if let Some(text) = line.strip_prefix("///") {
                comment += text;
            } else if line == "#[test]" {
                is_test = true;
            } else {
                let name = line.strip_prefix("fn ").and_then(|line| line.split('(').next());
                if let Some(name) = name.filter(|_| is_test) {
                    let words = comment.split(|c: char| !c.is_alphanumeric());
                    let upstream = words.filter(|word| word.starts_with("Test"));
                    found.extend(upstream.map(|word| (word.to_owned(), name.to_owned())));
                }
                (comment, is_test) = (String::new(), false);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn each_of_swarms_tests_is_pinned_by_the_test_that_the_table_says() {
    let mut table: Vec<_> = PINNED
        .iter()
        .map(|(upstream, here)| ((*upstream).to_owned(), (*here).to_owned()))
        .collect();
    table.sort();
    assert_eq!(named(), table);
    assert!(NOT_HERE.iter().all(|name| PINNED.iter().all(|(upstream, _)| upstream != name)));
}
