//! Who may link with whom: a device's own key, and those that it takes links with.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use rustls::{ClientConfig, ServerConfig, sign::SigningKey};
use tokio_util::sync::CancellationToken;

use crate::tls;

/// All circles of this program by their names: Zenoh hands a link nothing but words.
static CIRCLES: Mutex<BTreeMap<String, Weak<Inner>>> = Mutex::new(BTreeMap::new());
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Who may link with whom. Clones are the same circle.
#[derive(Clone)]
pub struct Circle(Arc<Inner>);

/// TLS did not take the key.
#[derive(Debug)]
pub struct CircleError(rustls::Error);

pub(crate) struct Inner {
    name: String,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    members: Members,
}

/// The keys in a circle, and their links.
#[derive(Clone, Default)]
pub(crate) struct Members(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    keys: BTreeSet<[u8; 32]>,
    links: BTreeMap<u64, ([u8; 32], CancellationToken)>,
    next: u64,
}

/// A place of a link in its circle, until it is dropped.
pub(crate) struct Place {
    members: Members,
    number: u64,
    /// Cancelled when the key is taken out of the circle.
    pub(crate) expelled: CancellationToken,
}

impl Circle {
    /// A circle of nobody but who proves the key `own`, whose signatures `signer` makes.
    ///
    /// # Errors
    /// When TLS does not take the key.
    pub fn new(own: &[u8; 32], signer: Arc<dyn SigningKey>) -> Result<Self, CircleError> {
        let members = Members::default();
        let (server, client) = tls::configs(own, signer, &members).map_err(CircleError)?;
        let name = format!("c{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let inner = Arc::new(Inner { name: name.clone(), server, client, members });
        lock(&CIRCLES).insert(name, Arc::downgrade(&inner));
        Ok(Self(inner))
    }

    /// What a session's configuration names it by, as `transport/link/tls/root_ca_certificate`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// From now on these keys are in it. Links of those that were and are not any more end.
    pub fn admit(&self, keys: BTreeSet<[u8; 32]>) {
        let mut state = lock(&self.0.members.0);
        for (key, expelled) in state.links.values() {
            if !keys.contains(key) {
                expelled.cancel();
            }
        }
        state.keys = keys;
    }

    /// Whose links there are.
    #[must_use]
    pub fn linked(&self) -> BTreeSet<[u8; 32]> {
        lock(&self.0.members.0).links.values().map(|(key, _)| *key).collect()
    }

    pub(crate) fn of_name(name: &str) -> Option<Self> {
        lock(&CIRCLES).get(name).and_then(Weak::upgrade).map(Self)
    }

    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.server)
    }

    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0.client)
    }

    /// A place for a link with `key`; `None` when that is not, or no longer, in the circle.
    pub(crate) fn enter(&self, key: [u8; 32]) -> Option<Place> {
        let members = self.0.members.clone();
        let mut state = lock(&members.0);
        if !state.keys.contains(&key) {
            return None;
        }
        let (number, expelled) = (state.next, CancellationToken::new());
        state.next += 1;
        state.links.insert(number, (key, expelled.clone()));
        drop(state);
        Some(Place { members, number, expelled })
    }
}

impl Members {
    pub(crate) fn contains(&self, key: &[u8; 32]) -> bool {
        lock(&self.0).keys.contains(key)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        lock(&CIRCLES).remove(&self.name);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.members.0).links.remove(&self.number);
    }
}

impl fmt::Debug for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Circle({}, {} keys)", self.0.name, lock(&self.0.members.0).keys.len())
    }
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Members({})", lock(&self.0).keys.len())
    }
}

impl fmt::Display for CircleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TLS cannot be set up with the device's key: {}", self.0)
    }
}

impl std::error::Error for CircleError {}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::tests::signer;

    #[test]
    fn who_is_taken_out_loses_its_links_and_gets_no_more() {
        let circle = Circle::new(&[1; 32], signer()).unwrap();
        assert!(circle.enter([2; 32]).is_none());
        circle.admit(BTreeSet::from([[2; 32], [3; 32]]));
        let (two, three) = (circle.enter([2; 32]).unwrap(), circle.enter([3; 32]).unwrap());
        circle.admit(BTreeSet::from([[3; 32]]));
        assert!(two.expelled.is_cancelled() && !three.expelled.is_cancelled());
        assert!(circle.enter([2; 32]).is_none());
        drop(two);
        assert_eq!(circle.linked(), BTreeSet::from([[3; 32]]));
    }

    #[test]
    fn a_circle_is_found_by_its_name_as_long_as_it_is_there() {
        let circle = Circle::new(&[1; 32], signer()).unwrap();
        let name = circle.name().to_owned();
        assert!(Circle::of_name(&name).is_some());
        drop(circle);
        assert!(Circle::of_name(&name).is_none());
    }
}
