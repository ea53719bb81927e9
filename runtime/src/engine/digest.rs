//! What a registry has under an image's name now, asked through the container engine of this machine: for operators, who sign it.

use std::{collections::BTreeMap, time::Duration};

use bollard::{Docker, errors::Error};
use futures_util::future::join_all;
use tokio::time::timeout;

use super::{errors, images::reference, link};

/// How images are named by what registries have under their names now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking {
    /// For each registry to answer, by way of the engine.
    pub patience: Duration,
    /// Whether a registry is asked for what was made or loaded on this machine, too.
    pub for_own: bool,
}

/// Each of the images by its digest, or in words why nobody tells it. One that has a digest stays as it is.
///
/// # Errors
/// In words, with what to do: there is no engine.
pub(crate) async fn by_digest(
    images: &[&str],
    asking: Asking,
) -> Result<BTreeMap<String, Result<String, String>>, String> {
    let host = link::host();
    let unreachable = |error: Error| errors::no_engine(&host, &error);
    let docker = Docker::connect_with_host(&host).map_err(unreachable)?;
    let negotiated = timeout(link::ANSWER, docker.negotiate_version()).await;
    let docker = negotiated.unwrap_or(Err(Error::RequestTimeoutError)).map_err(unreachable)?;
    let docker = &docker;
    let asked = images.iter().map(|image| async move {
        let asked = timeout(asking.patience, digest(docker, image, asking.for_own));
        let digest = asked.await.unwrap_or_else(|_| Err("no registry answers".into()));
        ((*image).to_owned(), digest.map(|digest| format!("{}@{digest}", without_tag(image))))
    });
    Ok(join_all(asked).await.into_iter().collect())
}

async fn digest(docker: &Docker, image: &str, for_own: bool) -> Result<String, String> {
    if !for_own
        && let Ok(own) = docker.inspect_image(image).await
        && own.repo_digests.unwrap_or_default().is_empty()
    {
        return Err("made or loaded on this machine".into());
    }
    let answer = docker.inspect_registry_image(&reference(image), None).await;
    let digest = answer.map_err(|error| errors::said(&error))?.descriptor.digest;
    digest.filter(|digest| is_digest(digest)).ok_or_else(|| "the registry says none".into())
}

/// What comes over the network and is to be signed has this form or none.
fn is_digest(text: &str) -> bool {
    let is_hex = |hex: &str| hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    text.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && is_hex(hex))
}

/// A colon after the last slash begins a tag; one before it, a port.
fn without_tag(image: &str) -> &str {
    let name = image.rfind('/').map_or(0, |slash| slash + 1);
    image[name..].find(':').map_or(image, |colon| &image[..name + colon])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_has_one_form() {
        let hex = "7f".repeat(32);
        assert!(is_digest(&format!("sha256:{hex}")));
        for other in [
            hex.clone(),
            format!("sha256:{}", &hex[2..]),
            format!("sha256:{hex}@x"),
            format!("sha256:{}", hex.to_uppercase()),
        ] {
            assert!(!is_digest(&other), "{other}");
        }
    }

    #[test]
    fn a_port_is_no_tag() {
        for (image, name) in [
            ("busybox", "busybox"),
            ("busybox:1.36", "busybox"),
            ("registry:5000/a/b", "registry:5000/a/b"),
            ("registry:5000/a/b:2", "registry:5000/a/b"),
        ] {
            assert_eq!(without_tag(image), name);
        }
    }
}
