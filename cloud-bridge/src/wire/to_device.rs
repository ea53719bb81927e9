//! Frames from the cloud to a device.

use bytes::Bytes;
use wayside_actors::frame::{Ask, Desired, MAX_REASON_BYTES, Question, ToDevice};
use wayside_config::limits::{ROOT_BYTES, ROOTS, SEALED_BYTES, WORKLOADS};

use super::{Frame, MAX_NAME_BYTES, WireError, confirm, cut, framed, put_confirm, unframed};
use crate::codec::{CodecError, Decoder, Encoder, MAX_FIELDS};

const WELCOME: u64 = 64;
const REFUSED: u64 = 65;
const DESIRED: u64 = 66;
const CONFIRM: u64 = 67;
const ASK: u64 = 68;
const TWIN: u64 = 69;
const CLOCK: u64 = 70;

const LOGS: u64 = 1;
const SEALED: u64 = 2;

impl Frame for ToDevice {
    fn encode(&self) -> Result<Bytes, WireError> {
        match self {
            Self::Welcome => framed(WELCOME, 0, |_| ()),
            Self::Refused { reason } => framed(REFUSED, 1, |e| e.text(cut(reason, MAX_REASON_BYTES))),
            Self::Desired(desired) => framed(DESIRED, 4, |e| put_desired(e, desired)),
            Self::Confirm(confirm) => framed(CONFIRM, 3, |e| put_confirm(e, confirm)),
            Self::Ask(ask) => framed(ASK, 2, |e| put_ask(e, ask)),
            Self::Twin(sealed) => framed(TWIN, 1, |e| e.bytes(sealed)),
            Self::Clock { asked_ms, cloud_ms } => framed(CLOCK, 2, |e| {
                e.uint(*asked_ms);
                e.uint(*cloud_ms);
            }),
        }
    }

    fn decode_within(body: Bytes, _limit: usize) -> Result<Self, WireError> {
        unframed(body, |kind, fields, d| {
            let (kind, read) = match kind {
                WELCOME => ("welcome", d.fields("welcome", fields, 0, |_| Ok(Self::Welcome))),
                REFUSED => (
                    "refused",
                    d.fields("refused", fields, 1, |d| {
                        Ok(Self::Refused { reason: d.text(MAX_REASON_BYTES, "a reason")? })
                    }),
                ),
                DESIRED => ("desired", d.fields("desired", fields, 4, desired).map(Self::Desired)),
                CONFIRM => ("confirm", d.fields("confirm", fields, 3, confirm).map(Self::Confirm)),
                ASK => ("ask", d.fields("ask", fields, 2, ask).map(Self::Ask)),
                TWIN => (
                    "twin",
                    d.fields("twin", fields, 1, |d| Ok(Self::Twin(d.bytes(SEALED_BYTES, "a change")?))),
                ),
                CLOCK => (
                    "clock",
                    d.fields("clock", fields, 2, |d| {
                        Ok(Self::Clock { asked_ms: d.uint()?, cloud_ms: d.uint()? })
                    }),
                ),
                unknown => return Err(WireError::UnknownKind(unknown)),
            };
            read.map_err(|source| WireError::Malformed { kind, source })
        })
    }
}

fn put_desired(encoder: &mut Encoder, desired: &Desired) {
    encoder.array(desired.roots.len());
    desired.roots.iter().for_each(|root| encoder.bytes(root));
    encoder.option(desired.revocation.as_ref(), |encoder, sealed| encoder.bytes(sealed));
    encoder.bytes(&desired.assignment);
    encoder.array(desired.releases.len());
    desired.releases.iter().for_each(|release| encoder.bytes(release));
}

fn desired(decoder: &mut Decoder) -> Result<Desired, CodecError> {
    Ok(Desired {
        roots: decoder.list(ROOTS, "a chain of roots", |d| d.bytes(ROOT_BYTES, "a root"))?,
        revocation: decoder.option(|d| d.bytes(SEALED_BYTES, "a list of what is revoked"))?,
        assignment: decoder.bytes(SEALED_BYTES, "an assignment")?,
        releases: decoder.list(WORKLOADS, "a list of releases", |d| d.bytes(SEALED_BYTES, "a release"))?,
    })
}

fn put_ask(encoder: &mut Encoder, ask: &Ask) {
    encoder.uint(ask.id);
    match &ask.question {
        Question::Logs { module, tail, since_ms } => {
            encoder.array(4);
            encoder.uint(LOGS);
            encoder.text(module);
            encoder.uint(u64::from(*tail));
            encoder.uint(*since_ms);
        }
        Question::Sealed { request } => {
            encoder.array(2);
            encoder.uint(SEALED);
            encoder.bytes(request);
        }
    }
}

fn ask(decoder: &mut Decoder) -> Result<Ask, CodecError> {
    Ok(Ask { id: decoder.uint()?, question: question(decoder)? })
}

/// How many fields follow depends on what is asked.
fn question(decoder: &mut Decoder) -> Result<Question, CodecError> {
    let fields = decoder.array(MAX_FIELDS, "a question")?;
    let kind = if fields == 0 { 0 } else { decoder.uint()? };
    match kind {
        LOGS => decoder.fields("question", fields - 1, 3, |d| {
            Ok(Question::Logs {
                module: d.text(MAX_NAME_BYTES, "a module")?,
                tail: d.small("a number of lines")?,
                since_ms: d.uint()?,
            })
        }),
        SEALED => decoder.fields("question", fields - 1, 1, |d| {
            Ok(Question::Sealed { request: d.bytes(SEALED_BYTES, "a sealed request")? })
        }),
        _ => Err(CodecError::Expected("a question that this version knows")),
    }
}
