//! What a device and its modules use, how far its clock is from the cloud's, and what is not as it should be.

use wayside_actors::report::{
    ClockOffset, Drift, MAX_DIGEST_BYTES, MAX_DRIFT_WORD_BYTES, MAX_PROBLEM_BYTES, MAX_VERSION_BYTES, System,
    Usage,
};

use super::{super::cut, name};
use crate::codec::{CodecError, Decoder, Encoder};

pub(super) fn put_usage(encoder: &mut Encoder, module: &str, usage: &Usage) {
    encoder.array(5);
    encoder.text(module);
    encoder.option(usage.cpu_millis, |e, millis| e.uint(u64::from(millis)));
    encoder.uint(usage.memory_bytes);
    encoder.option(usage.memory_limit_bytes, Encoder::uint);
    encoder.text(cut(&usage.digest, MAX_DIGEST_BYTES));
}

pub(super) fn usage(decoder: &mut Decoder) -> Result<(String, Usage), CodecError> {
    decoder.record("usage", 5, |d| {
        let name = name(d)?;
        let usage = Usage {
            cpu_millis: d.option(|d| d.small("a share of a core"))?,
            memory_bytes: d.uint()?,
            memory_limit_bytes: d.option(Decoder::uint)?,
            digest: d.text(MAX_DIGEST_BYTES, "the digest of an image")?,
        };
        Ok((name, usage))
    })
}

pub(super) fn put_system(encoder: &mut Encoder, system: &System) {
    encoder.array(9);
    encoder.uint(system.disk_bytes);
    encoder.uint(system.disk_free_bytes);
    encoder.uint(system.memory_bytes);
    encoder.uint(system.memory_free_bytes);
    encoder.uint(u64::from(system.cores));
    encoder.uint(u64::from(system.load_millis));
    encoder.uint(system.booted_ms);
    encoder.text(cut(&system.engine, MAX_VERSION_BYTES));
    encoder.text(cut(&system.kernel, MAX_VERSION_BYTES));
}

pub(super) fn system(decoder: &mut Decoder) -> Result<System, CodecError> {
    decoder.record("system", 9, |d| {
        Ok(System {
            disk_bytes: d.uint()?,
            disk_free_bytes: d.uint()?,
            memory_bytes: d.uint()?,
            memory_free_bytes: d.uint()?,
            cores: d.small("a number of cores")?,
            load_millis: d.small("a load")?,
            booted_ms: d.uint()?,
            engine: d.text(MAX_VERSION_BYTES, "the version of an engine")?,
            kernel: d.text(MAX_VERSION_BYTES, "the version of a kernel")?,
        })
    })
}

pub(super) fn put_clock(encoder: &mut Encoder, clock: ClockOffset) {
    encoder.array(2);
    encoder.int(clock.ahead_ms);
    encoder.uint(clock.error_ms);
}

pub(super) fn clock(decoder: &mut Decoder) -> Result<ClockOffset, CodecError> {
    decoder.record("clock", 2, |d| Ok(ClockOffset { ahead_ms: d.int()?, error_ms: d.uint()? }))
}

pub(super) fn put_drift(encoder: &mut Encoder, what: &str, drift: &Drift) {
    encoder.array(5);
    encoder.text(what);
    encoder.text(cut(&drift.desired, MAX_DRIFT_WORD_BYTES));
    encoder.text(cut(&drift.reported, MAX_DRIFT_WORD_BYTES));
    encoder.uint(drift.since_ms);
    encoder.text(cut(&drift.why, MAX_PROBLEM_BYTES));
}

pub(super) fn drift(decoder: &mut Decoder) -> Result<(String, Drift), CodecError> {
    decoder.record("drift", 5, |d| {
        let name = name(d)?;
        let drift = Drift {
            desired: d.text(MAX_DRIFT_WORD_BYTES, "what is desired")?,
            reported: d.text(MAX_DRIFT_WORD_BYTES, "what is there")?,
            since_ms: d.uint()?,
            why: d.text(MAX_PROBLEM_BYTES, "why something is not as it should be")?,
        };
        Ok((name, drift))
    })
}
