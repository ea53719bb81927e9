//! The page and the join link: who has them operates the fleet or joins it, so they are told with care.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

use wayside_config::join::JoinLink;

/// What a person needs to know to use a cloud that is up.
#[derive(Clone)]
pub struct Links {
    /// The page's address, without the token.
    pub page: String,
    /// The token that opens it.
    pub token: String,
    /// The link that lets a device join.
    pub join: JoinLink,
    /// The state directory, which keeps them.
    pub state: PathBuf,
}

impl Links {
    /// Everything, a line each, for the person in front of a terminal and for the file in the state directory.
    #[must_use]
    pub fn whole(&self) -> String {
        format!("page  {}#token={}\njoin  {}\n", self.page, self.token, self.join)
    }

    /// What may stand in a journal: the page without its token, and how to see the rest.
    #[must_use]
    pub fn public(&self) -> String {
        let mut text = format!("page  {}\n", self.page);
        let _ = writeln!(text, "links wayside-cloud links --state {}", shell_word(&self.state));
        text
    }
}

/// As it has to be written in a shell.
fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use wayside_config::identity::PublicKey;

    use super::*;

    #[test]
    fn a_journal_gets_no_secret() {
        let links = |state: &str| Links {
            page: "http://127.0.0.1:8480/".into(),
            token: "s3cret".into(),
            join: JoinLink {
                host: "cloud".into(),
                port: 7443,
                key: PublicKey::from_bytes([1; 32]),
                token: Some("t0ken".into()),
            },
            state: state.into(),
        };
        let whole = links("/s").whole();
        assert!(
            whole.contains("page  http://127.0.0.1:8480/#token=s3cret\njoin  wayside://cloud:7443/?key=")
        );
        assert!(whole.ends_with("&token=t0ken\n"), "{whole}");
        let public = links("/var/lib/wayside-cloud").public();
        assert_eq!(
            public,
            "page  http://127.0.0.1:8480/\nlinks wayside-cloud links --state /var/lib/wayside-cloud\n"
        );
        assert!(links("/my state").public().ends_with(" --state '/my state'\n"));
    }
}
