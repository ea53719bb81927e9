//! The device's own record of what it did that takes a right to do: signed, chained, bounded.
//!
//! [`wayside_config::audit`] has the form and the verification; here is who writes what, and how often at most. What
//! cannot be recorded is done all the same, for a full disk must not keep an operator out; it is counted and said.

mod limited;
mod log;
#[cfg(test)]
mod tests;

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use ed25519_dalek::SigningKey;
use wayside_config::{
    audit::{Act, Entry, Head, Way},
    cosign::{self, Kind},
    document::{Grant, TwinChange},
    hash::{hex, sha256},
    identity::{DeviceId, FleetId, PublicKey},
    rule::Rule,
    secret::SecretChange,
};

use self::{limited::Limited, log::Log};
use crate::{
    clock::wall_ms,
    control::Ask,
    state::{Identity, StateFolder},
    trust::{self, Verified},
};

/// Characters of why something was refused: a stranger may have chosen some of them.
const REASON: usize = 160;

/// The log of this device. Its calls block on the disk.
#[derive(Debug)]
pub struct Audit {
    key: SigningKey,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    log: Log,
    limited: Limited,
    /// Acts that could not be recorded, and why the last one could not.
    lost: Option<(u64, String)>,
    fleet: Option<Standing>,
    /// How the assignment of this version came.
    offered: Option<(u64, Way)>,
}

/// What is known of the fleet.
pub(crate) type Standing = (FleetId, u64);

impl Audit {
    /// Opens the log, or begins one. The text is a problem to show.
    ///
    /// # Errors
    /// The system's word.
    pub fn open(identity: &Identity, state: &Arc<StateFolder>) -> io::Result<(Self, Option<String>)> {
        let (log, damage) = Log::open(Arc::clone(state), identity.device())?;
        let inner = Inner { log, limited: Limited::default(), lost: None, fleet: None, offered: None };
        let audit = Self { key: identity.key().clone(), inner: Mutex::new(inner) };
        let mut text = format!("wayside {}", env!("CARGO_PKG_VERSION"));
        if let Some(damage) = &damage {
            text.push_str("; ");
            text.push_str(damage);
        }
        audit.note(Act::Started, Way::Own, Vec::new(), text);
        Ok((audit, damage))
    }

    /// Records that an operator's question is about to be answered, unless it changes nothing and reveals little.
    pub fn asked(&self, way: Way, by: &[PublicKey], ask: &Ask) {
        let reading = |act, what: String| {
            let is_new = self.lock().limited.reads(by, &what, Instant::now());
            is_new.then_some((act, what))
        };
        let noted = match ask {
            Ask::Call { module, method, body, .. } => {
                let whose = module.as_deref().unwrap_or("the device");
                // The body may hold a secret.
                let mut text = format!("{method} of {whose}, with {} bytes", body.len());
                if let (None, "restart") = (module, method.as_str()) {
                    text = format!("restart with {body}");
                }
                Some((Act::Call, text))
            }
            // By who asks: whether the change is of those whose signatures it shows is seen later.
            Ask::SetTwin { change } => Some((Act::Twin, twin_text(&change.0))),
            Ask::SetSecret { change } => Some((Act::Secret, secret_text(&change.0))),
            Ask::Logs { module, .. } | Ask::PreviousLogs { module, .. } => reading(Act::Logs, module.clone()),
            Ask::Audit { .. } => reading(Act::Audit, "this log".into()),
            Ask::Lock { for_ms, reason } => {
                let text = format!("updates are held back for {} s: {reason}", for_ms / 1000);
                Some((Act::Update, text))
            }
            Ask::Unlock { owner } => {
                let owner = owner.as_deref().unwrap_or("operator");
                Some((Act::Update, format!("the lock of {owner} is ended")))
            }
            // Recorded when it is taken.
            Ask::Apply { .. } | Ask::Admit { .. } => None,
            // Changes nothing of this device.
            Ask::Keep { .. }
            | Ask::Status
            | Ask::Devices
            | Ask::Lobby
            | Ask::Rules
            | Ask::Versions
            | Ask::Twin { .. }
            | Ask::Secrets
            | Ask::Messages => None,
        };
        if let Some((act, text)) = noted {
            self.note(act, way, by.to_vec(), text);
        }
    }

    /// Records that a cloud brought a change of a twin, which was verified: once an hour, however often it brings the same.
    pub(crate) fn twin_by_cloud(&self, sealed: &[u8]) {
        let by = cosign::claimed_signers(Kind::TwinChange, sealed).unwrap_or_default();
        let is_new = self.lock().limited.reads(&[], &hex(&sha256(sealed)), Instant::now());
        if is_new {
            self.note(Act::Twin, Way::Cloud, by, twin_text(sealed));
        }
    }

    /// Says by which way an assignment came that may be taken.
    pub(crate) fn offered(&self, version: u64, way: Way) {
        self.lock().offered = Some((version, way));
    }

    /// Records that desired state is taken. A cloud alone makes ever new assignments of what operators once signed: of
    /// its ones a few in an hour are recorded each, the others are counted.
    pub(crate) fn desired(&self, verified: &Verified) {
        let Verified { sealed, assignment, releases, by: _ } = verified;
        let offered = self.lock().offered.take();
        let is_this = |(version, _): &(u64, Way)| *version == assignment.version;
        let way = offered.filter(is_this).map_or(Way::Own, |(_, way)| way);
        let mut others = 0;
        if way == Way::Cloud {
            match self.lock().limited.assigns(Instant::now()) {
                Some(before) => others = before,
                None => return,
            }
        }
        let signers = |kind, sealed: &[u8]| -> Vec<PublicKey> {
            cosign::claimed_signers(kind, sealed).unwrap_or_default()
        };
        let mut text = format!("assignment {}:", assignment.version);
        for ((release, reference), bytes) in releases.iter().zip(&assignment.releases).zip(&sealed.releases) {
            let by: Vec<_> = signers(Kind::Release, bytes).iter().map(PublicKey::short).collect();
            text.push_str(&format!(
                " {} {} ({}, signed by {})",
                release.workload.name,
                release.version,
                &hex(&reference.sha256)[..16],
                by.join(", ")
            ));
        }
        if releases.is_empty() {
            text.push_str(" nothing");
        }
        if others > 0 {
            text.push_str(&format!("; and {others} others before it"));
        }
        self.note(Act::Desired, way, signers(Kind::Assignment, &sealed.assignment), text);
    }

    /// Records that a version did not prove itself.
    pub(crate) fn taken_back(&self, workload: &str, version: u64, why: &str) {
        let text = format!("version {version} of {workload} was taken back: {why}");
        self.note(Act::Update, Way::Own, Vec::new(), text);
    }

    /// Records to which fleet the device belongs, where that or what is known of it has changed.
    pub(crate) fn fleet(&self, way: Way, standing: Option<Standing>) {
        let Some((fleet, root)) = standing else { return };
        let before = self.lock().fleet.replace((fleet, root));
        // What it knew when it started stands in the log already.
        if before != Some((fleet, root)) && (before.is_some() || way != Way::Own) {
            self.note(Act::Fleet, way, Vec::new(), format!("fleet {}, root {root}", fleet.short()));
        }
    }

    /// Records that the device was granted a place, or lost it, or knows of others who are out.
    pub(crate) fn standing(&self, way: Way, before: &trust::Standing, now: &trust::Standing) {
        let version = |standing: &trust::Standing| standing.grant.as_ref().map(|own| own.grant.version);
        if (version(before), before.revocation) == (version(now), now.revocation) {
            return;
        }
        let (by, place) = match &now.grant {
            Some(own) => {
                let by = cosign::claimed_signers(Kind::Grant, &own.sealed).unwrap_or_default();
                (by, format!("grant {} as {}", own.grant.version, own.grant.name))
            }
            None => (Vec::new(), "no grant".into()),
        };
        self.note(Act::Fleet, way, by, format!("{place}, list {} of what is revoked", now.revocation));
    }

    /// Records that this device is to apply a rule.
    pub(crate) fn rule(&self, way: Way, sealed: &[u8]) {
        let Ok(rule) = cosign::peek::<Rule>(sealed) else { return };
        let Ok(hash) = cosign::payload_hash(Kind::Rule, sealed) else { return };
        let by = cosign::claimed_signers(Kind::Rule, sealed).unwrap_or_default();
        let what = if rule.token.is_some() { "a join token" } else { "a standing rule" };
        let uses = rule.uses.map_or_else(|| "any number of".into(), |uses| uses.to_string());
        let text = format!("rule {}: {what} for {uses} device(s)", &hex(&hash)[..16]);
        self.note(Act::Fleet, way, by, text);
    }

    /// Records that this device admitted another one by a rule.
    pub(crate) fn received(&self, device: DeviceId, granted: &[u8]) {
        let Ok(grant) = cosign::peek::<Grant>(granted) else { return };
        let by = cosign::claimed_signers(Kind::Grant, granted).unwrap_or_default();
        self.note(Act::Fleet, Way::Lan, by, format!("{} ({device}) is admitted by a rule", grant.name));
    }

    /// Records that something was refused, or counts it where one was a while ago.
    pub(crate) fn refused(&self, way: Way, reason: &str) {
        let due = self.lock().limited.refuses(Instant::now());
        if let Some(others) = due {
            let more =
                if others > 0 { format!("; and {others} others since the last") } else { String::new() };
            let reason: String = reason.chars().take(REASON).collect();
            self.note(Act::Refused, way, Vec::new(), format!("{reason}{more}"));
        }
    }

    /// Records that what stands before this was not done: each time, as that was.
    pub(crate) fn not_done(&self, way: Way, reason: &str) {
        self.note(Act::Refused, way, Vec::new(), reason.chars().take(REASON).collect());
    }

    /// Why acts are not recorded, if they are not.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let lost = self.lock().lost.clone();
        lost.map(|(count, why)| {
            format!(
                "the audit log cannot be written ({why}): {count} acts are not in it; make room on the disk"
            )
        })
    }

    /// Entries from number `from` on, as a log of its own, at most `max_bytes`; and where the whole log stands.
    ///
    /// # Errors
    /// The system's word.
    pub fn read(&self, from: u64, max_bytes: usize) -> io::Result<(Vec<u8>, Head)> {
        let inner = self.lock();
        Ok((inner.log.read(from, max_bytes)?, inner.log.head()))
    }

    fn note(&self, act: Act, way: Way, by: Vec<PublicKey>, text: String) {
        let entry =
            |act, way, by, text| Entry { seq: 0, previous: [0; 32], time_ms: wall_ms(), act, way, by, text };
        let mut inner = self.lock();
        let append = |inner: &mut Inner, entry| inner.log.append(&self.key, entry);
        if let Some((count, why)) = inner.lost.clone() {
            let text = format!("{count} acts could not be recorded: {why}");
            if append(&mut inner, entry(Act::Lost, Way::Own, Vec::new(), text)).is_ok() {
                inner.lost = None;
            }
        }
        if let Err(error) = append(&mut inner, entry(act, way, by, text)) {
            let count = inner.lost.as_ref().map_or(0, |(count, _)| *count);
            if count == 0 {
                tracing::error!(%error, "the audit log cannot be written; what is done is not in it until it can");
            }
            inner.lost = Some((count + 1, error.to_string()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn twin_text(sealed: &[u8]) -> String {
    cosign::peek::<TwinChange>(sealed).map_or_else(
        |_| "a change that cannot be read".into(),
        |change| format!("{} to version {}", change.module, change.version),
    )
}

fn secret_text(sealed: &[u8]) -> String {
    cosign::peek::<SecretChange>(sealed).map_or_else(
        |_| "a secret that cannot be read".into(),
        |SecretChange { version, secret, value, .. }| match value {
            Some(_) => format!("{secret} set, version {version}"),
            None => format!("{secret} removed, version {version}"),
        },
    )
}
