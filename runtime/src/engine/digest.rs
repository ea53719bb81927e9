//! What a registry has under an image's name now, asked through the container engine of this machine: for operators, who sign it.

use std::time::Duration;

use bollard::{Docker, errors::Error};
use tokio::time::timeout;

use super::{errors, images::reference, link};

/// For a registry to answer, by way of the engine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The images by their digests, in the same order. One that has a digest stays as it is.
///
/// # Errors
/// In words, with what to do: no engine, or no registry has it.
pub(crate) async fn by_digest(images: &[String]) -> Result<Vec<String>, String> {
    let host = link::host();
    let unreachable = |error: Error| errors::no_engine(&host, &error);
    let docker = Docker::connect_with_host(&host).map_err(unreachable)?;
    let negotiated = timeout(link::ANSWER, docker.negotiate_version()).await;
    let docker = negotiated.unwrap_or(Err(Error::RequestTimeoutError)).map_err(unreachable)?;
    let mut found = Vec::with_capacity(images.len());
    for image in images {
        if image.contains('@') {
            found.push(image.clone());
            continue;
        }
        let reference = reference(image);
        let asking = docker.inspect_registry_image(&reference, None);
        let unknown = |why: &str| {
            format!(
                "no registry tells the digest of {image} ({why}): push it there, or write it as NAME@sha256:DIGEST"
            )
        };
        let answer = timeout(PATIENCE, asking).await.map_err(|_| unknown("it does not answer"))?;
        let digest = answer.map_err(|error| unknown(&errors::said(&error)))?.descriptor.digest;
        let digest = digest.filter(|digest| is_digest(digest)).ok_or_else(|| unknown("it says none"))?;
        found.push(format!("{}@{digest}", without_tag(image)));
    }
    Ok(found)
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
