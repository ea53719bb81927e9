//! The engine's errors in words that say what to do.

use bollard::errors::Error;

/// Whether the engine says that it does not have what was named.
pub(super) fn is_missing(error: &Error) -> bool {
    status(error) == Some(404)
}

/// Whether the image that a container was to be made from is not there.
pub(super) fn is_missing_image(error: &Error) -> bool {
    let text = error.to_string().to_lowercase();
    is_missing(error) && (text.contains("no such image") || text.contains("image not known"))
}

/// Whether the name is taken.
pub(super) fn is_conflict(error: &Error) -> bool {
    status(error) == Some(409)
}

pub(super) fn status(error: &Error) -> Option<u16> {
    if let Error::DockerResponseServerError { status_code, .. } = error { Some(*status_code) } else { None }
}

/// What the engine said, without the client library's wrapping.
pub(super) fn said(error: &Error) -> String {
    if let Error::DockerResponseServerError { message, .. } = error {
        message.trim().to_owned()
    } else {
        // The outermost text of a failed connection says little; the innermost says why.
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        cause.to_string()
    }
}

/// No engine answers the daemon at `host`.
pub(super) fn unreachable(host: &str, error: &Error) -> String {
    format!("{}; modules wait until it is there", no_engine(host, error))
}

/// No engine answers at `host`.
pub(super) fn no_engine(host: &str, error: &Error) -> String {
    let said = said(error);
    let lower = said.to_lowercase();
    let advice = if matches!(error, Error::SocketNotFoundError(_)) || lower.contains("no such file") {
        "install and start one (on Debian or Ubuntu: `apt-get install docker.io`), or set DOCKER_HOST to where it is"
    } else if matches!(error, Error::RequestTimeoutError) {
        "it takes connections and says nothing, see its own log (`journalctl -u docker`)"
    } else if lower.contains("permission denied") {
        "this user may not talk to it: run as root, or add the user to the group `docker`"
    } else {
        "start it (`systemctl start docker`), or set DOCKER_HOST to where it is"
    };
    format!("no container engine answers at {host} ({said}): {advice}")
}

/// An image that could be neither found nor pulled.
pub(super) fn no_image(image: &str, pull: &str) -> String {
    // What is loaded has no digest of a registry.
    let (file, by_tag) = match image.split_once('@') {
        Some(_) => ("NAME:TAG", ", and apply it by that tag with `--no-pin`"),
        None => (image, ""),
    };
    format!(
        "the image {image} is not on this device and could not be pulled ({pull}): check its name, or bring it with `docker save {file} | ssh DEVICE docker load`{by_tag}"
    )
}

/// A container could not be made.
pub(super) fn create(name: &str, error: &Error) -> String {
    if is_conflict(error) {
        return format!(
            "a container named {name} is there that this device did not make: remove it with `docker rm -f {name}`"
        );
    }
    format!("the engine did not make the container: {}{}", said(error), advice(error))
}

/// A container could not be started.
pub(super) fn start(error: &Error) -> String {
    let said = said(error);
    let lower = said.to_lowercase();
    let advice = if lower.contains("port is already allocated") || lower.contains("address already in use") {
        "; another program uses the port: stop it, or publish another port"
    } else if lower.contains("executable file not found") || lower.contains("no such file or directory") {
        "; the image has no such program: check `command` and `entrypoint`"
    } else {
        advice(error)
    };
    format!("the engine did not start the container: {said}{advice}")
}

/// Anything else that the engine did not do.
pub(super) fn other(what: &str, error: &Error) -> String {
    format!("the engine did not {what}: {}{}", said(error), advice(error))
}

fn advice(error: &Error) -> &'static str {
    let lower = said(error).to_lowercase();
    if lower.contains("no space left on device") {
        "; the disk is full: free some space (`docker system prune` removes what nobody uses)"
    } else if matches!(error, Error::RequestTimeoutError) {
        "; it did not answer in time: see its own log (`journalctl -u docker`)"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status_code: u16, message: &str) -> Error {
        Error::DockerResponseServerError { status_code, message: message.into() }
    }

    #[test]
    fn common_failures_say_what_to_do() {
        insta::assert_snapshot!(
            unreachable("unix:///var/run/docker.sock", &Error::SocketNotFoundError("/var/run/docker.sock".into())),
            @"no container engine answers at unix:///var/run/docker.sock (Socket not found: /var/run/docker.sock): install and start one (on Debian or Ubuntu: `apt-get install docker.io`), or set DOCKER_HOST to where it is; modules wait until it is there"
        );
        insta::assert_snapshot!(
            unreachable("unix:///var/run/docker.sock", &Error::RequestTimeoutError),
            @"no container engine answers at unix:///var/run/docker.sock (Timeout error): it takes connections and says nothing, see its own log (`journalctl -u docker`); modules wait until it is there"
        );
        insta::assert_snapshot!(
            no_image("sensor:1", "no route to host"),
            @"the image sensor:1 is not on this device and could not be pulled (no route to host): check its name, or bring it with `docker save sensor:1 | ssh DEVICE docker load`"
        );
        insta::assert_snapshot!(
            create("wayside-a-b-c", &answer(409, "Conflict. The container name is already in use")),
            @"a container named wayside-a-b-c is there that this device did not make: remove it with `docker rm -f wayside-a-b-c`"
        );
        insta::assert_snapshot!(
            start(&answer(500, "driver failed: Bind for 0.0.0.0:80 failed: port is already allocated")),
            @"the engine did not start the container: driver failed: Bind for 0.0.0.0:80 failed: port is already allocated; another program uses the port: stop it, or publish another port"
        );
        insta::assert_snapshot!(
            create("x", &answer(500, "mkdir /var/lib/docker: no space left on device")),
            @"the engine did not make the container: mkdir /var/lib/docker: no space left on device; the disk is full: free some space (`docker system prune` removes what nobody uses)"
        );
    }

    #[test]
    fn kinds_are_told_apart() {
        assert!(is_missing_image(&answer(404, "No such image: sensor:1")));
        assert!(!is_missing_image(&answer(404, "No such container: x")));
        assert!(is_conflict(&answer(409, "")));
    }
}
