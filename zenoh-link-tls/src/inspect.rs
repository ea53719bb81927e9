//! What Zenoh wants to know of a kind of links before there is one.

use async_trait::async_trait;
use zenoh_config::Config;
use zenoh_link_commons::{ConfigurationInspector, LocatorInspector};
use zenoh_protocol::core::{Locator, parameters};
use zenoh_result::ZResult;

use crate::{CIRCLE, TLS_LOCATOR_PREFIX};

/// Says how locators of these links are to be understood.
#[derive(Clone, Copy, Debug, Default)]
pub struct TlsLocatorInspector;

/// Hands the name of the circle from a session's configuration on to its endpoints.
#[derive(Clone, Copy, Debug, Default)]
pub struct TlsConfigurator;

#[async_trait]
impl LocatorInspector for TlsLocatorInspector {
    fn protocol(&self) -> &str {
        TLS_LOCATOR_PREFIX
    }

    async fn is_multicast(&self, _locator: &Locator) -> ZResult<bool> {
        Ok(false)
    }

    fn is_reliable(&self, _locator: &Locator) -> ZResult<bool> {
        Ok(true)
    }
}

impl ConfigurationInspector<Config> for TlsConfigurator {
    fn inspect_config(&self, config: &Config) -> ZResult<String> {
        let circle = config.transport().link().tls().root_ca_certificate().clone();
        Ok(parameters::from_iter(circle.iter().map(|name| (CIRCLE, name.as_str()))))
    }
}
