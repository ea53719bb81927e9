//! Links of the mesh: TLS 1.3 in which both sides prove an Ed25519 key (RFC 7250), and take each other only when the key is in
//! their [`Circle`].
//!
//! It takes the place of Zenoh's crate of the same name (see `[patch.crates-io]` in the workspace's `Cargo.toml`), which
//! trusts every public certificate authority besides one's own when it dials, so that anybody with a certificate of any of them could stand in
//! for a device; and which reads whom to trust once, when a session is opened. Here a circle changes while
//! sessions stand, and links of a key that is taken out of it end at once.

mod circle;
mod inspect;
mod link;
mod manager;
mod tls;

pub use circle::{Circle, CircleError};
pub use inspect::{TlsConfigurator, TlsLocatorInspector};
pub use link::LinkUnicastTls;
pub use manager::LinkManagerUnicastTls;

/// How locators of these links begin.
pub const TLS_LOCATOR_PREFIX: &str = "tls";

/// The key of an endpoint's configuration that names the circle.
const CIRCLE: &str = "circle";
