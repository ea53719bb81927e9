//! Finds the engine and makes the modules' network, so that containers reach their daemon.

use std::{
    collections::HashMap,
    env, fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use bollard::{
    Docker,
    errors::Error,
    models::{
        ContainerInspectResponse, EndpointSettings, NetworkConnectRequest, NetworkCreateRequest,
        NetworkInspect,
    },
};
use tokio::time::timeout;

use super::{Broker, Ready, Settings, errors, names};

const SOCKET: &str = "unix:///var/run/docker.sock";

/// For the engine to say that it is there.
pub(super) const ANSWER: Duration = Duration::from_secs(10);

/// Connects and prepares. The error says what to do.
pub(super) async fn connect(settings: &Settings) -> Result<Ready, String> {
    let host = host();
    let unreachable = |error: Error| errors::unreachable(&host, &error);
    let docker = Docker::connect_with_host(&host).map_err(unreachable)?;
    let negotiated = timeout(ANSWER, docker.negotiate_version()).await.map_err(|_| silent())?;
    let docker = negotiated.map_err(unreachable)?;
    let version = docker.version().await.map_err(unreachable)?;
    let network = names::network(&settings.identity.device());
    let details = network_details(&docker, settings, &network)
        .await
        .map_err(|error| errors::other(&format!("make the network {network}"), &error))?;
    let own = own_container(&docker).await;
    let own_mounts = own.as_ref().map(mounts);
    let broker = match own.filter(|own| !is_on_host(own)) {
        Some(container) => join(&docker, &network, &container).await?,
        None => Broker::Gateway(gateway(&details).ok_or_else(|| {
            format!("the network {network} has no IPv4 gateway: remove it with `docker network rm {network}`, and it is made anew")
        })?),
    };
    // An engine that does not tell sets no limit.
    let machine = docker.info().await.unwrap_or_default();
    let memory_bytes = machine.mem_total.filter(|_| machine.memory_limit == Some(true));
    let module_memory = memory_bytes.map(|bytes| bytes / 4 * 3).filter(|bytes| *bytes > 0);
    let version = version.version.unwrap_or_default();
    Ok(Ready { docker, version, broker, network, module_memory, own_mounts })
}

/// That it takes connections and does not answer.
pub(super) fn silent() -> String {
    errors::unreachable(&host(), &Error::RequestTimeoutError)
}

/// `DOCKER_HOST`, or Docker's socket, or Podman's where Docker has none.
pub(super) fn host() -> String {
    if let Ok(host) = env::var("DOCKER_HOST") {
        return host;
    }
    let mut podman = vec!["/run/podman/podman.sock".to_owned()];
    podman.extend(env::var("XDG_RUNTIME_DIR").map(|folder| format!("{folder}/podman/podman.sock")));
    let docker = Path::new("/var/run/docker.sock").exists();
    let found = podman.into_iter().find(|path| !docker && Path::new(path).exists());
    found.map_or_else(|| SOCKET.to_owned(), |path| format!("unix://{path}"))
}

async fn network_details(docker: &Docker, settings: &Settings, name: &str) -> Result<NetworkInspect, Error> {
    match docker.inspect_network(name, None).await {
        Err(error) if errors::is_missing(&error) => {}
        found => return found,
    }
    let labels = HashMap::from([(names::DEVICE.to_owned(), settings.identity.device().to_string())]);
    let request = NetworkCreateRequest {
        name: name.to_owned(),
        driver: Some("bridge".into()),
        labels: Some(labels),
        ..Default::default()
    };
    docker.create_network(request).await?;
    docker.inspect_network(name, None).await
}

fn gateway(network: &NetworkInspect) -> Option<Ipv4Addr> {
    let configs = network.ipam.as_ref()?.config.as_ref()?;
    configs.iter().find_map(|config| config.gateway.as_ref()?.parse().ok())
}

/// The container that this process runs in, when it is one of this engine and has its own network.
async fn own_container(docker: &Docker) -> Option<ContainerInspectResponse> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let hostname = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let ids = container_of_mounts(&mounts).into_iter().chain(Some(hostname.trim()));
    for id in ids.filter(|id| id.len() >= 12 && id.bytes().all(|b| b.is_ascii_hexdigit())) {
        let Ok(container) = docker.inspect_container(id, None).await else { continue };
        return Some(container);
    }
    None
}

/// Whether it has no network of its own.
fn is_on_host(container: &ContainerInspectResponse) -> bool {
    let mode = container.host_config.as_ref().and_then(|config| config.network_mode.as_deref());
    mode == Some("host")
}

/// Folders of the host by where the container sees them. One of a volume is left out: a volume in memory is another one
/// after the container's next start, and modules that run would keep the one before.
fn mounts(container: &ContainerInspectResponse) -> Vec<(PathBuf, PathBuf)> {
    let mounts = container.mounts.iter().flatten();
    let binds = mounts.filter(|mount| mount.typ.as_deref() == Some("bind"));
    binds
        .filter_map(|mount| Some((mount.destination.as_ref()?.into(), mount.source.as_ref()?.into())))
        .collect()
}

impl Ready {
    /// Where the host has what the daemon sees at `path`: the engine mounts folders of the host.
    pub(super) fn on_host(&self, path: &Path) -> Result<PathBuf, String> {
        let Some(mounts) = &self.own_mounts else { return Ok(path.to_owned()) };
        let within =
            mounts.iter().filter_map(|(seen, host)| Some((seen, host.join(path.strip_prefix(seen).ok()?))));
        let (_, host) = within.max_by_key(|(seen, _)| seen.components().count()).ok_or_else(|| {
            let folder = path.display();
            format!("the daemon is a container, and {folder} in it is no folder of the host, so modules cannot be given it: run it with `--volume /run/wayside:/run/wayside`")
        })?;
        Ok(host)
    }
}

/// The engine mounts `/etc/hostname` from `.../containers/ID/hostname`.
fn container_of_mounts(mounts: &str) -> Option<&str> {
    let line = mounts.lines().find(|line| line.contains("/hostname ") && line.contains("/containers/"))?;
    line.split_once("/containers/")?.1.split('/').find(|part| part.len() == 64)
}

/// Connects this process's container to the modules' network under the name that modules use.
async fn join(
    docker: &Docker,
    network: &str,
    container: &ContainerInspectResponse,
) -> Result<Broker, String> {
    let id = container.id.clone().unwrap_or_default();
    if let Some(address) = address_in(container, network) {
        return Ok(Broker::Container(address));
    }
    let failed =
        |error: Error| errors::other(&format!("connect this container to the network {network}"), &error);
    let endpoint = EndpointSettings { aliases: Some(vec![names::BROKER.into()]), ..Default::default() };
    let request = NetworkConnectRequest { container: id.clone(), endpoint_config: Some(endpoint) };
    docker.connect_network(network, request).await.map_err(failed)?;
    let container = docker.inspect_container(&id, None).await.map_err(failed)?;
    address_in(&container, network).map(Broker::Container).ok_or_else(|| {
        format!("this container has no IPv4 address in the network {network}: remove that network, and it is made anew")
    })
}

fn address_in(container: &ContainerInspectResponse, network: &str) -> Option<Ipv4Addr> {
    let networks = container.network_settings.as_ref()?.networks.as_ref()?;
    networks.get(network)?.ip_address.as_ref()?.parse().ok()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An engine that nobody asks anything.
    pub(in crate::engine) fn ready(broker: Broker) -> Ready {
        let docker = Docker::connect_with_http("127.0.0.1:1", 1, bollard::API_DEFAULT_VERSION).unwrap();
        let network = "wayside-abc".into();
        Ready { docker, version: "1".into(), broker, network, module_memory: Some(3 << 30), own_mounts: None }
    }

    #[test]
    fn what_a_container_sees_is_found_on_its_host_or_not_at_all() {
        let mounts = [("/run", "/host/run"), ("/run/wayside", "/run/wayside-a")];
        let on_host = ready(Broker::Gateway(Ipv4Addr::LOCALHOST));
        let path = Path::new("/run/wayside/d/grid.sensor");
        assert_eq!(on_host.on_host(path).unwrap(), path);
        let own_mounts = Some(mounts.map(|(seen, host)| (seen.into(), host.into())).into());
        let inside = Ready { own_mounts, ..on_host };
        assert_eq!(inside.on_host(path).unwrap(), Path::new("/run/wayside-a/d/grid.sensor"));
        let refused = inside.on_host(Path::new("/runner/wayside")).unwrap_err();
        assert!(refused.contains("`--volume /run/wayside:/run/wayside`"), "{refused}");
    }

    #[test]
    fn a_container_knows_itself_by_its_mounts() {
        let id = "0123456789abcdef".repeat(4);
        let mounts = format!(
            "1 2 0:1 / / rw - overlay overlay rw\n\
             3 4 254:0 /var/lib/docker/containers/{id}/resolv.conf /etc/resolv.conf rw - ext4 /dev/vda rw\n\
             5 6 254:0 /var/lib/docker/containers/{id}/hostname /etc/hostname rw - ext4 /dev/vda rw\n"
        );
        assert_eq!(container_of_mounts(&mounts), Some(id.as_str()));
        assert_eq!(container_of_mounts("1 2 0:1 / / rw - ext4 /dev/vda rw"), None);
    }
}
