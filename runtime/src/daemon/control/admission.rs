//! Who belongs to the fleet, as others hand it over and ask for it.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use wayside_config::{
    audit::Way,
    cosign::{self, Kind},
    document::DocumentId,
    limits::{MEMBERS, ROOTS, RULES},
};
use wayside_mesh::session::Mesh;

use super::Control;
use crate::{
    control::{Answer, Ask, InLobby, Present, Sealed, seal_handed},
    trust::{News, Standing},
};

impl Control {
    /// Takes what somebody handed to this device in the lobby.
    pub(in crate::daemon) async fn handed(&self, question: Vec<u8>) -> Vec<u8> {
        // What is read takes a multiple of its bytes, and a while.
        let read = tokio::task::spawn_blocking(move || (read(&question), question)).await;
        let Ok((ask, question)) = read else { return Vec::new() };
        let answer = match ask {
            Ok(Ask::Admit { roots, revocation, grants, rules }) => {
                self.admit(news(roots, revocation, grants, rules), Way::Lan).await
            }
            Ok(_) => Err("nothing but grants is taken here: ask over the mesh".into()),
            Err(reason) => Err(reason),
        };
        seal_handed(&self.key, &question, answer)
    }

    pub(super) async fn admit(&self, news: News, way: Way) -> Result<Answer, String> {
        let (trust, audit) = (Arc::clone(&self.trust), Arc::clone(&self.audit));
        // Signatures and the disk take a while.
        let admitted = tokio::task::spawn_blocking(move || {
            let before = trust.standing();
            let applied = trust.rules().into_iter().map(|rule| rule.id).collect();
            let admitted = trust.admit(&news).map_err(|error| error.to_string());
            audit.fleet(way, trust.fleet());
            audit.standing(way, &before, &trust.standing());
            if admitted.is_ok() {
                not_yet(applied, &news.rules).for_each(|sealed| audit.rule(way, sealed));
            }
            if let Err(reason) = &admitted {
                audit.refused(way, reason);
            }
            admitted
        });
        let version = admitted.await.map_err(|error| error.to_string())??;
        Ok(Answer::Admitted { version })
    }

    pub(super) fn lobby(&self) -> InLobby {
        let Standing { fleet, root, revocation, grant } = self.trust.standing();
        let own = Present {
            device: self.device,
            name: self.name.clone(),
            labels: self.settings.labels.clone(),
            fleet,
            root,
            revocation,
            grant: grant.map(|granted| Sealed(granted.sealed.to_vec())),
            door: None,
            mesh: self.mesh.iter().flat_map(Mesh::addresses).collect(),
            is_cloned: false,
        };
        InLobby { own: Box::new(own), devices: self.lobby.heard().into_iter().map(Into::into).collect() }
    }
}

/// Reads what anybody hands over. A document has no comma in its base64: so many parts have so many of them, and each takes memory however
/// small it is.
fn read(question: &[u8]) -> Result<Ask, String> {
    const PARTS: usize = ROOTS + MEMBERS + RULES + 10;
    let parts = question.iter().filter(|byte| **byte == b',').count();
    if parts > PARTS {
        return Err(format!("{parts} parts are too many: at most {PARTS} are taken at once"));
    }
    serde_json::from_slice(question)
        .map_err(|error| format!("not understood: {error}; use a `wayside` of the device's version"))
}

/// Rules that were not applied before, each once: anybody can hand over again, and often, a rule that grants show.
fn not_yet(mut applied: BTreeSet<DocumentId>, rules: &[Bytes]) -> impl Iterator<Item = &Bytes> {
    rules.iter().filter(move |sealed| {
        let id = cosign::payload_hash(Kind::Rule, sealed).map(DocumentId);
        id.is_ok_and(|id| applied.insert(id))
    })
}

/// What somebody hands over, as it is told apart.
pub(super) fn news(
    roots: Vec<Sealed>,
    revocation: Option<Sealed>,
    grants: Vec<Sealed>,
    rules: Vec<Sealed>,
) -> News {
    let all = |sealed: Vec<Sealed>| sealed.into_iter().map(|sealed| sealed.0.into()).collect();
    let revocation = revocation.map(|sealed| sealed.0.into());
    News { roots: all(roots), revocation, grants: all(grants), rules: all(rules) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_comes_again_is_no_news() {
        let key = ed25519_dalek::SigningKey::from_bytes(&[1; 32]);
        let fleet = wayside_config::fleet::Fleet::of_one(&key).unwrap();
        let sealed = |issued_ms| -> Bytes {
            let rule = wayside_config::rule::Rule {
                by: wayside_config::identity::DeviceId::from_bytes([2; 32]),
                issued_ms,
                expires_ms: None,
                token: None,
                uses: None,
                when: Default::default(),
                labels: Default::default(),
                site: None,
            };
            cosign::seal(&fleet.id(), &rule, &key).unwrap().into()
        };
        let (first, second) = (sealed(1), sealed(2));
        let rules = [first.clone(), first.clone(), second.clone(), first.clone(), second.clone()];
        let news: Vec<_> = not_yet(BTreeSet::new(), &rules).collect();
        assert_eq!(news, [&first, &second]);
        let applied = BTreeSet::from([DocumentId(cosign::payload_hash(Kind::Rule, &first).unwrap())]);
        assert_eq!(not_yet(applied, &rules).collect::<Vec<_>>(), [&second]);
        assert_eq!(not_yet(BTreeSet::new(), &[Bytes::from_static(b"x")]).count(), 0);
    }

    #[test]
    fn what_is_in_many_small_parts_is_not_even_read() {
        let question = |count: usize| {
            let ask = Ask::Admit {
                roots: Vec::new(),
                revocation: None,
                grants: vec![Sealed(Vec::new()); count],
                rules: Vec::new(),
            };
            serde_json::to_vec(&ask).unwrap()
        };
        assert!(read(&question(MEMBERS)).is_ok());
        let refused = read(&question(1_000_000)).unwrap_err();
        assert!(refused.contains("too many"), "{refused}");
        assert!(read(b"{").unwrap_err().contains("not understood"));
    }
}
