//! Who belongs to the fleet, as others hand it over and ask for it.

use std::sync::Arc;

use wayside_config::audit::Way;
use wayside_mesh::session::Mesh;

use super::Control;
use crate::{
    control::{Answer, Ask, InLobby, Present, Sealed, seal_reply},
    trust::{News, Standing},
};

impl Control {
    /// Takes what somebody handed to this device in the lobby.
    pub(in crate::daemon) async fn handed(&self, question: &[u8]) -> Vec<u8> {
        let answer = match serde_json::from_slice(question) {
            Ok(Ask::Admit { roots, revocation, grants, rules }) => {
                self.admit(news(roots, revocation, grants, rules), Way::Lan).await
            }
            Ok(_) => Err("nothing but grants is taken here: ask over the mesh".into()),
            Err(error) => Err(format!("not understood: {error}; use a `wayside` of the device's version")),
        };
        seal_reply(&self.key, question, answer)
    }

    pub(super) async fn admit(&self, news: News, way: Way) -> Result<Answer, String> {
        let (trust, audit) = (Arc::clone(&self.trust), Arc::clone(&self.audit));
        // Signatures and the disk take a while.
        let admitted = tokio::task::spawn_blocking(move || {
            let before = trust.standing();
            let admitted = trust.admit(&news).map_err(|error| error.to_string());
            audit.fleet(way, trust.fleet());
            audit.standing(way, &before, &trust.standing());
            if admitted.is_ok() {
                news.rules.iter().for_each(|sealed| audit.rule(way, sealed));
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
