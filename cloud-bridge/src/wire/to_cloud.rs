//! Frames from a device to the cloud.

use bytes::Bytes;
use wayside_actors::{
    device::twins::{Side, Twin},
    frame::{Answer, Hello, MAX_ANSWER_BYTES, OLDEST_PROTOCOL, PROTOCOL, ToCloud},
    message::Batch,
    report::{
        MAX_DRIFT, MAX_MODULES, MAX_OUTPUT_BYTES, MAX_PEERS, MAX_PROBLEM_BYTES, MAX_PROBLEMS, MAX_QUEUES,
        MAX_REPORTED_NAME_BYTES, MAX_ROUTES, MAX_WORKLOADS, ModuleStatus, QueueStatus, Report, RouteStatus,
        WorkloadStatus,
    },
};
use wayside_config::{
    limits::{GRANT_BYTES, IMAGE_BYTES, LABEL_BYTES, LABELS, TOKEN_BYTES, TWIN_BYTES},
    workload::ModuleId,
};

use super::{
    Frame, MAX_FRAME_BYTES, WireError, batch, cut, framed, key,
    packed::{pack, unpack},
    put_batch, put_key, unframed,
};
mod numbers;
mod usage;

use self::numbers::{health, health_number, phase, phase_number, state, state_number};
use self::usage::{clock, drift, put_clock, put_drift, put_system, put_usage, system, usage};
use crate::codec::{CodecError, Decoder, Encoder, MAX_FIELDS};

const HELLO: u64 = 1;
const REPORT: u64 = 2;
const BATCH: u64 = 3;
const ANSWER: u64 = 4;
const TWIN_NAMES: u64 = 6;
const TWIN: u64 = 7;
const TWIN_REFUSED: u64 = 8;
const PACKED_BATCH: u64 = 5;
const CLOCK: u64 = 9;

/// Fields of a greeting after its protocol, but for the number of the daemon's start.
const HELLO_FIELDS_BEFORE: u64 = 4;
/// Fields of a report.
const REPORT_FIELDS: usize = 20;
/// Those of a device of the version before, which told nothing of what it uses.
const REPORT_FIELDS_BEFORE: u64 = 15;

impl Frame for ToCloud {
    fn encode(&self) -> Result<Bytes, WireError> {
        match self {
            Self::Hello(hello) => framed(HELLO, 7, |e| put_hello(e, hello)),
            Self::Report(report) => framed(REPORT, REPORT_FIELDS, |e| put_report(e, report)),
            Self::Batch(batch) => encode_batch(batch),
            Self::Answer(answer) => framed(ANSWER, 3, |e| put_answer(e, answer)),
            Self::TwinNames(modules) => framed(TWIN_NAMES, 1, |e| {
                put_list(e, MAX_MODULES, modules.iter(), |e, module| e.text(&module.to_string()));
            }),
            Self::Twin(module, twin) => framed(TWIN, 7, |e| put_twin(e, module, twin)),
            Self::Clock { asked_ms } => framed(CLOCK, 1, |e| e.uint(*asked_ms)),
            Self::TwinRefused { sha256, reason } => framed(TWIN_REFUSED, 2, |e| {
                e.bytes(sha256);
                e.text(cut(reason, MAX_PROBLEM_BYTES));
            }),
        }
    }

    fn decode_within(body: Bytes, limit: usize) -> Result<Self, WireError> {
        unframed(body, |kind, fields, d| {
            let (kind, read) = match kind {
                HELLO => ("hello", hello(fields, d).map(Self::Hello)),
                REPORT => ("report", report(fields, d).map(Box::new).map(Self::Report)),
                BATCH => ("batch", d.fields("batch", fields, 5, batch).map(Self::Batch)),
                ANSWER => ("answer", d.fields("answer", fields, 3, answer).map(Self::Answer)),
                PACKED_BATCH => (
                    "packed batch",
                    d.fields("packed batch", fields, 2, |d| packed_batch(d, limit)).map(Self::Batch),
                ),
                TWIN_NAMES => (
                    "twin names",
                    d.fields("twin names", fields, 1, |d| {
                        d.list(MAX_MODULES, "the number of twins", module_id).map(Self::TwinNames)
                    }),
                ),
                TWIN => ("twin", d.fields("twin", fields, 7, twin)),
                TWIN_REFUSED => (
                    "refused twin",
                    d.fields("refused twin", fields, 2, |d| {
                        let sha256 = d.array_of_bytes("a hash of 32 bytes")?;
                        Ok(Self::TwinRefused { sha256, reason: d.text(MAX_PROBLEM_BYTES, "a reason")? })
                    }),
                ),
                CLOCK => ("clock", d.fields("clock", fields, 1, |d| Ok(Self::Clock { asked_ms: d.uint()? }))),
                unknown => return Err(WireError::UnknownKind(unknown)),
            };
            read.map_err(|source| WireError::Malformed { kind, source })
        })
    }
}

/// Packed where that pays.
fn encode_batch(batch: &Batch) -> Result<Bytes, WireError> {
    let frame = framed(BATCH, 5, |e| put_batch(e, batch))?;
    let body = &frame[4..];
    match pack(body) {
        None => Ok(frame),
        Some(packed) => framed(PACKED_BATCH, 2, |e| {
            e.uint(body.len() as u64);
            e.bytes(&packed);
        }),
    }
}

fn packed_batch(decoder: &mut Decoder, limit: usize) -> Result<Batch, CodecError> {
    let bytes = decoder.uint()?;
    let packed = decoder.bytes(MAX_FRAME_BYTES, "a packed batch")?;
    let mut body = Decoder::new(unpack(&packed, bytes, limit)?);
    let fields = body.array(MAX_FIELDS, "a batch")?;
    if fields == 0 || body.uint()? != BATCH {
        return Err(CodecError::Expected("a batch"));
    }
    let batch = body.fields("batch", fields - 1, 5, batch)?;
    body.finish()?;
    Ok(batch)
}

fn put_hello(encoder: &mut Encoder, hello: &Hello) {
    encoder.uint(u64::from(hello.protocol));
    encoder.text(&hello.name);
    encoder.text(&hello.version);
    encoder.array(hello.labels.len());
    for (label, value) in &hello.labels {
        encoder.array(2);
        encoder.text(label);
        encoder.text(value);
    }
    encoder.option(hello.token.as_deref(), Encoder::text);
    encoder.uint(hello.run);
    encoder.option(hello.grant.as_deref(), Encoder::bytes);
}

/// Another protocol version may mean other fields: they are not looked at.
fn hello(fields: u64, decoder: &mut Decoder) -> Result<Hello, CodecError> {
    let protocol = decoder.fields("hello", fields.min(1), 1, |d| d.small("a protocol version"))?;
    if !(OLDEST_PROTOCOL..=PROTOCOL).contains(&protocol) {
        decoder.fields("hello", fields - 1, 0, |_| Ok(()))?;
        let (name, version) = (String::new(), String::new());
        return Ok(Hello { protocol, name, version, labels: Vec::new(), token: None, run: 0, grant: None });
    }
    // Devices of before tell no number of their start, or show no grant.
    let known = (fields - 1).clamp(HELLO_FIELDS_BEFORE, HELLO_FIELDS_BEFORE + 2);
    decoder.fields("hello", fields - 1, known, |d| {
        Ok(Hello {
            protocol,
            name: d.text(LABEL_BYTES, "a device's name")?,
            version: d.text(LABEL_BYTES, "a version")?,
            labels: d.list(LABELS, "the number of labels", |d| {
                d.record("label", 2, |d| {
                    Ok((d.text(LABEL_BYTES, "a label")?, d.text(LABEL_BYTES, "a label's value")?))
                })
            })?,
            token: d.option(|d| d.text(TOKEN_BYTES, "a join token"))?,
            run: if known > HELLO_FIELDS_BEFORE { d.uint()? } else { 0 },
            grant: if known > HELLO_FIELDS_BEFORE + 1 {
                d.option(|d| d.bytes(GRANT_BYTES, "a grant"))?
            } else {
                None
            },
        })
    })
}

fn put_report(encoder: &mut Encoder, report: &Report) {
    encoder.uint(report.number);
    encoder.boolean(report.full);
    let entries = report.modules.iter().map(|(name, status)| (name.as_str(), status));
    put_list(encoder, MAX_MODULES, entries, |e, (name, status)| put_module(e, name, status));
    put_names(encoder, MAX_MODULES, &report.modules_gone);
    let entries = report.queues.iter().map(|(name, status)| (name.as_str(), status));
    put_list(encoder, MAX_QUEUES, entries, |e, (name, status)| put_queue(e, name, status));
    put_names(encoder, MAX_QUEUES, &report.queues_gone);
    encoder.option(report.peers.as_deref(), |e, peers| put_list(e, MAX_PEERS, peers.iter(), put_key));
    encoder.option(report.assignment, Encoder::uint);
    encoder.option(report.problems.as_deref(), |e, problems| {
        put_list(e, MAX_PROBLEMS, problems.iter(), |e, problem| e.text(cut(problem, MAX_PROBLEM_BYTES)));
    });
    encoder.option(report.unrouted, Encoder::uint);
    encoder.option(report.refused, Encoder::uint);
    let entries = report.routes.iter().map(|(name, status)| (name.as_str(), status));
    put_list(encoder, MAX_ROUTES, entries, |e, (name, status)| put_route(e, name, status));
    put_names(encoder, MAX_ROUTES, &report.routes_gone);
    let entries = report.workloads.iter().map(|(name, status)| (name.as_str(), status));
    put_list(encoder, MAX_WORKLOADS, entries, |e, (name, status)| put_workload(e, name, status));
    put_names(encoder, MAX_WORKLOADS, &report.workloads_gone);
    let entries = report.usage.iter().map(|(name, usage)| (name.as_str(), usage));
    put_list(encoder, MAX_MODULES, entries, |e, (name, usage)| put_usage(e, name, usage));
    encoder.option(report.system.as_ref(), put_system);
    encoder.option(report.clock, put_clock);
    let entries = report.drift.iter().map(|(name, drift)| (name.as_str(), drift));
    put_list(encoder, MAX_DRIFT, entries, |e, (name, drift)| put_drift(e, name, drift));
    put_names(encoder, MAX_DRIFT, &report.drift_gone);
}

fn report(fields: u64, decoder: &mut Decoder) -> Result<Report, CodecError> {
    if fields < REPORT_FIELDS as u64 {
        return decoder.fields("report", fields, REPORT_FIELDS_BEFORE, report_before);
    }
    decoder.fields("report", fields, REPORT_FIELDS as u64, |d| {
        let before = report_before(d)?;
        Ok(Report {
            usage: d.list(MAX_MODULES, "the number of modules that use something", usage)?,
            system: d.option(system)?,
            clock: d.option(clock)?,
            drift: d.list(MAX_DRIFT, "the number of what is not as it should be", drift)?,
            drift_gone: d.list(MAX_DRIFT, "the number of what is as it should be", name)?,
            ..before
        })
    })
}

/// What every report has.
fn report_before(decoder: &mut Decoder) -> Result<Report, CodecError> {
    Ok(Report {
        number: decoder.uint()?,
        full: decoder.boolean()?,
        modules: decoder.list(MAX_MODULES, "the number of modules", module)?,
        modules_gone: decoder.list(MAX_MODULES, "the number of modules that are gone", name)?,
        queues: decoder.list(MAX_QUEUES, "the number of queues", queue)?,
        queues_gone: decoder.list(MAX_QUEUES, "the number of queues that are gone", name)?,
        peers: decoder.option(|d| d.list(MAX_PEERS, "the number of peers", key))?,
        assignment: decoder.option(Decoder::uint)?,
        problems: decoder.option(|d| {
            d.list(MAX_PROBLEMS, "the number of problems", |d| d.text(MAX_PROBLEM_BYTES, "a problem"))
        })?,
        unrouted: decoder.option(Decoder::uint)?,
        refused: decoder.option(Decoder::uint)?,
        routes: decoder.list(MAX_ROUTES, "the number of routes", route)?,
        routes_gone: decoder.list(MAX_ROUTES, "the number of routes that are gone", name)?,
        workloads: decoder.list(MAX_WORKLOADS, "the number of workloads", workload)?,
        workloads_gone: decoder.list(MAX_WORKLOADS, "the number of workloads that are gone", name)?,
        ..Report::default()
    })
}

fn put_module(encoder: &mut Encoder, module: &str, status: &ModuleStatus) {
    encoder.array(8);
    encoder.text(module);
    encoder.uint(state_number(status.state));
    encoder.text(cut(&status.image, IMAGE_BYTES));
    encoder.uint(u64::from(status.restarts));
    encoder.option(status.exit_code, Encoder::int);
    encoder.text(cut(&status.problem, MAX_PROBLEM_BYTES));
    encoder.option(status.health, |e, health| e.uint(health_number(health)));
    encoder.text(cut(&status.output, MAX_OUTPUT_BYTES));
}

fn module(decoder: &mut Decoder) -> Result<(String, ModuleStatus), CodecError> {
    decoder.record("module", 8, |d| {
        let name = name(d)?;
        let status = ModuleStatus {
            state: state(d.uint()?)?,
            image: d.text(IMAGE_BYTES, "an image")?,
            restarts: d.small("a number of restarts")?,
            exit_code: d.option(Decoder::int)?,
            problem: d.text(MAX_PROBLEM_BYTES, "a problem")?,
            health: d.option(|d| health(d.uint()?))?,
            output: d.text(MAX_OUTPUT_BYTES, "what a health check wrote")?,
        };
        Ok((name, status))
    })
}

fn put_queue(encoder: &mut Encoder, queue: &str, status: &QueueStatus) {
    encoder.array(6);
    encoder.text(queue);
    encoder.uint(status.depth);
    encoder.uint(status.bytes);
    encoder.uint(status.appended);
    encoder.uint(status.dropped);
    encoder.uint(status.expired);
}

fn queue(decoder: &mut Decoder) -> Result<(String, QueueStatus), CodecError> {
    decoder.record("queue", 6, |d| {
        let name = name(d)?;
        let status = QueueStatus {
            depth: d.uint()?,
            bytes: d.uint()?,
            appended: d.uint()?,
            dropped: d.uint()?,
            expired: d.uint()?,
        };
        Ok((name, status))
    })
}

fn put_route(encoder: &mut Encoder, route: &str, status: &RouteStatus) {
    encoder.array(5);
    encoder.text(route);
    encoder.uint(status.refused);
    encoder.uint(status.failed);
    encoder.uint(status.left_out);
    encoder.uint(status.lost);
}

fn route(decoder: &mut Decoder) -> Result<(String, RouteStatus), CodecError> {
    decoder.record("route", 5, |d| {
        let name = name(d)?;
        let (refused, failed) = (d.uint()?, d.uint()?);
        Ok((name, RouteStatus { refused, failed, left_out: d.uint()?, lost: d.uint()? }))
    })
}

fn put_workload(encoder: &mut Encoder, workload: &str, status: &WorkloadStatus) {
    encoder.array(5);
    encoder.text(workload);
    encoder.uint(status.version);
    encoder.option(status.coming, Encoder::uint);
    encoder.uint(phase_number(status.phase));
    encoder.text(cut(&status.problem, MAX_PROBLEM_BYTES));
}

fn workload(decoder: &mut Decoder) -> Result<(String, WorkloadStatus), CodecError> {
    decoder.record("workload", 5, |d| {
        let name = name(d)?;
        let (version, coming, phase) = (d.uint()?, d.option(Decoder::uint)?, phase(d.uint()?)?);
        let problem = d.text(MAX_PROBLEM_BYTES, "a problem")?;
        Ok((name, WorkloadStatus { version, coming, phase, problem }))
    })
}

fn put_twin(encoder: &mut Encoder, module: &ModuleId, twin: &Twin) {
    encoder.text(&module.to_string());
    encoder.uint(twin.life);
    encoder.uint(twin.desired.version);
    encoder.text(&twin.desired.properties);
    encoder.uint(twin.reported.version);
    encoder.text(&twin.reported.properties);
    encoder.bytes(&twin.changed_by);
}

fn twin(decoder: &mut Decoder) -> Result<ToCloud, CodecError> {
    let module = module_id(decoder)?;
    let life = decoder.uint()?;
    let mut side = || {
        Ok(Side { version: decoder.uint()?, properties: decoder.text(TWIN_BYTES, "a twin's properties")? })
    };
    let (desired, reported) = (side()?, side()?);
    let changed_by = decoder.array_of_bytes("a hash of 32 bytes")?;
    Ok(ToCloud::Twin(module, Box::new(Twin { life, desired, reported, changed_by })))
}

fn module_id(decoder: &mut Decoder) -> Result<ModuleId, CodecError> {
    name(decoder)?.parse().map_err(|_| CodecError::Expected("WORKLOAD/MODULE"))
}

fn put_answer(encoder: &mut Encoder, answer: &Answer) {
    encoder.uint(answer.id);
    encoder.boolean(answer.result.is_ok());
    match &answer.result {
        Ok(text) | Err(text) => encoder.text(cut(text, MAX_ANSWER_BYTES)),
    }
}

fn answer(decoder: &mut Decoder) -> Result<Answer, CodecError> {
    let (id, good) = (decoder.uint()?, decoder.boolean()?);
    let text = decoder.text(MAX_ANSWER_BYTES, "an answer")?;
    Ok(Answer { id, result: if good { Ok(text) } else { Err(text) } })
}

/// Writes as many entries as the cloud takes. A device within its own limits has no more; what is cut
/// off else is told on the device, which has it whole.
fn put_list<T>(
    encoder: &mut Encoder,
    limit: usize,
    entries: impl ExactSizeIterator<Item = T>,
    mut put: impl FnMut(&mut Encoder, T),
) {
    encoder.array(entries.len().min(limit));
    entries.take(limit).for_each(|entry| put(encoder, entry));
}

fn put_names(encoder: &mut Encoder, limit: usize, names: &[String]) {
    put_list(encoder, limit, names.iter(), |e, name| e.text(name));
}

/// The name of a module or a queue.
fn name(decoder: &mut Decoder) -> Result<String, CodecError> {
    decoder.text(MAX_REPORTED_NAME_BYTES, "the name of a module or a queue")
}
