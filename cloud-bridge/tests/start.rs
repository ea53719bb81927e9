//! What the cloud says when it starts, and whom it obeys when what it knew is damaged.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a failed step fails the test")]

mod support;

use support::Cloud;

#[test]
fn a_journal_gets_no_secret_and_the_command_shows_them() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(folder.path());
    let (url, token) = cloud.api();
    let state = folder.path().display();
    assert_eq!(cloud.said, format!("page  {url}/\nlinks wayside-cloud links --state {state}"));
    assert!(!cloud.said.contains(&token));
    let links = support::links(folder.path());
    assert!(links.contains(&token) && links.contains("&token="), "{links}");
    assert_eq!(cloud.get("/api/v1/devices").0, 200, "the token that it shows is good");
}
