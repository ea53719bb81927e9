//! Finds the engine and makes the modules' network, so that containers reach their daemon.

use std::{collections::HashMap, env, fs, net::Ipv4Addr, path::Path};

use bollard::{
    Docker,
    errors::Error,
    models::{
        ContainerInspectResponse, EndpointSettings, NetworkConnectRequest, NetworkCreateRequest,
        NetworkInspect,
    },
};

use super::{Broker, Ready, Settings, errors, names};

const SOCKET: &str = "unix:///var/run/docker.sock";

/// Connects and prepares. The error says what to do.
pub(super) async fn connect(settings: &Settings) -> Result<Ready, String> {
    let host = host();
    let unreachable = |error: Error| errors::unreachable(&host, &error);
    let docker = Docker::connect_with_host(&host).map_err(unreachable)?;
    let docker = docker.negotiate_version().await.map_err(unreachable)?;
    let version = docker.version().await.map_err(unreachable)?;
    let network = names::network(&settings.identity.device());
    let details = network_details(&docker, settings, &network)
        .await
        .map_err(|error| errors::other(&format!("make the network {network}"), &error))?;
    let broker = match own_container(&docker).await {
        Some(container) => join(&docker, &network, &container).await?,
        None => Broker::Gateway(gateway(&details).ok_or_else(|| {
            format!("the network {network} has no IPv4 gateway: remove it with `docker network rm {network}`, and it is made anew")
        })?),
    };
    Ok(Ready { docker, version: version.version.unwrap_or_default(), broker, network })
}

/// `DOCKER_HOST`, or Docker's socket, or Podman's where Docker has none.
fn host() -> String {
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
        let mode = container.host_config.as_ref().and_then(|config| config.network_mode.as_deref());
        if mode != Some("host") {
            return Some(container);
        }
    }
    None
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
        Ready { docker, version: "1".into(), broker, network: "wayside-abc".into() }
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
