mod any;
mod packed;
mod versions;

use std::collections::BTreeMap;

use proptest::{collection, prelude::*};
use wayside_actors::{
    frame::{Answer, Ask, Desired, Hello, MAX_ANSWER_BYTES, PROTOCOL, Question, ToCloud, ToDevice},
    report::{
        Health, MAX_MODULES, MAX_PEERS, MAX_PROBLEM_BYTES, MAX_PROBLEMS, ModuleState, ModuleStatus, Phase,
        QueueStatus, Report, RouteStatus, WorkloadStatus,
    },
};

use self::any::any_report;
use super::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn body(frame: &impl Frame) -> Bytes {
    frame.encode().unwrap().slice(4..)
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn decode<F: Frame>(body: &[u8]) -> Result<F, WireError> {
    F::decode(Bytes::copy_from_slice(body))
}

/// The protocol is these bytes. A change here needs a new protocol version, or a field at an end.
#[test]
fn bytes_are_pinned() {
    let hello = ToCloud::Hello(Hello {
        protocol: PROTOCOL,
        name: "ewr".into(),
        version: "0.1.0".into(),
        labels: vec![("plant".into(), "p7".into())],
        token: Some("t".into()),
        run: 3,
        grant: Some(Bytes::from_static(b"g")),
    });
    assert_eq!(
        hex(&hello.encode().unwrap()),
        "0000001d8801046365777265302e312e30818265706c616e746270376174034167"
    );
    let before = Bytes::from_static(b"\x86\x01\x04\x63ewr\x650.1.0\x81\x82\x65plant\x62p7\x61t");
    assert!(matches!(ToCloud::decode(before).unwrap(), ToCloud::Hello(Hello { run: 0, token: Some(_), .. })));
    let before = Bytes::from_static(b"\x87\x01\x04\x63ewr\x650.1.0\x81\x82\x65plant\x62p7\x61t\x03");
    assert!(matches!(ToCloud::decode(before).unwrap(), ToCloud::Hello(Hello { run: 3, grant: None, .. })));

    let batch = ToCloud::Batch(Batch {
        route: "w/r".into(),
        epoch: 7,
        after: 0,
        first_seq: 1,
        messages: vec![Message {
            origin: PublicKey::from_bytes([1; 32]),
            source: "s".into(),
            topic: "o".into(),
            properties: Default::default(),
            payload: Bytes::from_static(b"\x00\xff"),
            accepted_ms: 1000,
        }],
    });
    let (origin, start) = ("01".repeat(32), "00000038860363772f7207000181865820");
    assert_eq!(hex(&batch.encode().unwrap()), format!("{start}{origin}6173616f4200ff1903e880"));

    let report = ToCloud::Report(Box::new(Report {
        number: 1,
        full: true,
        modules: BTreeMap::from([(
            "w/m".into(),
            ModuleStatus {
                state: ModuleState::Running,
                image: "i".into(),
                restarts: 0,
                exit_code: Some(-1),
                problem: String::new(),
                health: Some(Health::Healthy),
                output: String::new(),
            },
        )]),
        queues: BTreeMap::from([(
            "q".into(),
            QueueStatus { depth: 1, bytes: 2, appended: 3, dropped: 4, expired: 5 },
        )]),
        assignment: Some(9),
        workloads: BTreeMap::from([(
            "w".into(),
            WorkloadStatus { version: 6, coming: None, phase: Phase::Preparing, problem: "too old".into() },
        )]),
        ..Report::default()
    }));
    let (of_before, more) = (
        "0201f5818863772f6d02616900206001608081866171010203040580f609f6f6f680808185617706f60067746f6f206f6c6480",
        "80f6f68080",
    );
    assert_eq!(hex(&body(&report)), format!("95{of_before}{more}"));
    // A device of the version before tells nothing of what it uses.
    assert_eq!(decode::<ToCloud>(&unhex(&format!("90{of_before}"))).unwrap(), report);

    let answer = ToCloud::Answer(Answer { id: 5, result: Err("no".into()) });
    assert_eq!(hex(&body(&answer)), "840405f4626e6f");

    let module: wayside_config::workload::ModuleId = "w/m".parse().unwrap();
    assert_eq!(hex(&body(&ToCloud::TwinNames(vec![module.clone()]))), "82068163772f6d");
    let twin = Box::new(wayside_actors::device::twins::Twin::new(7));
    let zeros = "00".repeat(32);
    assert_eq!(
        hex(&body(&ToCloud::Twin(module, twin))),
        format!("880763772f6d0700627b7d00627b7d5820{zeros}")
    );
    let refused = ToCloud::TwinRefused { sha256: [0; 32], reason: "no".into() };
    assert_eq!(hex(&body(&refused)), format!("83085820{zeros}626e6f"));
    assert_eq!(hex(&body(&ToDevice::Twin(Bytes::from_static(b"c")))), "8218454163");

    assert_eq!(hex(&body(&ToCloud::Clock { asked_ms: 7 })), "820907");
    assert_eq!(hex(&body(&ToDevice::Clock { asked_ms: 7, cloud_ms: 300 })), "8318460719012c");
    assert_eq!(hex(&body(&ToDevice::Welcome)), "811840");
    assert_eq!(hex(&body(&ToDevice::Refused { reason: "no".into() })), "821841626e6f");
    let desired = Desired {
        roots: vec![Bytes::from_static(b"f")],
        revocation: None,
        assignment: Bytes::from_static(b"a"),
        releases: vec![Bytes::from_static(b"r")],
    };
    assert_eq!(hex(&body(&ToDevice::Desired(desired))), "851842814166f64161814172");
    let confirm = Confirm { route: "w/r".into(), epoch: 7, upto: 300 };
    assert_eq!(hex(&body(&ToDevice::Confirm(confirm))), "84184363772f720719012c");
    let question = Question::Logs { module: "m".into(), tail: 10, since_ms: 0 };
    assert_eq!(hex(&body(&ToDevice::Ask(Ask { id: 1, question }))), "831844018401616d0a00");
    let question = Question::Sealed { request: Bytes::from_static(b"q") };
    assert_eq!(hex(&body(&ToDevice::Ask(Ask { id: 1, question }))), "8318440182024171");
}

#[test]
fn what_is_wrong_is_said() {
    let words = |body: &[u8]| decode::<ToCloud>(body).unwrap_err().to_string();
    assert_eq!(words(&[0x82, 10, 1]), "a frame of unknown kind 10, which is of a newer version");
    assert_eq!(words(&[0x82, 3, 1]), "a batch frame cannot be read: batch has 1 fields, 5 are needed");
    assert_eq!(words(&[0x81, 1]), "a hello frame cannot be read: hello has 0 fields, 1 are needed");
    assert_eq!(words(&[0x80]), "a protocol frame cannot be read: frame has 0 fields, 1 are needed");
    assert_eq!(words(&[]), "a protocol frame cannot be read: the data ends early");
    assert_eq!(
        words(&[0x84, 4, 1, 0xf5, 0x60, 0]),
        "a protocol frame cannot be read: 1 bytes follow the end"
    );
}

#[test]
fn too_large_a_frame_is_not_written() {
    let release = Bytes::from(vec![0; MAX_FRAME_BYTES]);
    let desired = ToDevice::Desired(Desired { releases: vec![release], ..Desired::default() });
    assert!(matches!(desired.encode(), Err(WireError::TooLarge { .. })));
}

/// The body of a frame whose fields `write` writes, as a device that keeps no limit would send it.
fn unlimited(kind: u64, fields: usize, write: impl FnOnce(&mut Encoder)) -> Bytes {
    framed(kind, fields, write).unwrap().slice(4..)
}

fn texts(encoder: &mut Encoder, count: usize, text: &str) {
    encoder.array(count);
    (0..count).for_each(|_| encoder.text(text));
}

#[test]
fn what_is_over_a_limit_is_refused_by_name() {
    let words = |body: &[u8]| decode::<ToCloud>(body).unwrap_err().to_string();
    let start = |e: &mut Encoder| {
        e.uint(1);
        e.boolean(true);
    };
    let gone = unlimited(2, 15, |e| {
        start(e);
        e.array(0);
        texts(e, MAX_MODULES + 1, "");
    });
    let over = "the number of modules that are gone is 20001, at most 20000 is allowed";
    assert_eq!(words(&gone), format!("a report frame cannot be read: {over}"));
    let name = unlimited(2, 15, |e| {
        start(e);
        e.array(0);
        texts(e, 1, &"n".repeat(513));
    });
    let over = "the name of a module or a queue is 513, at most 512 is allowed";
    assert_eq!(words(&name), format!("a report frame cannot be read: {over}"));
    let labels = unlimited(1, 5, |e| {
        e.uint(u64::from(PROTOCOL));
        e.text("ewr");
        e.text("0.1.0");
        texts(e, 101, "");
    });
    let over = "the number of labels is 101, at most 100 is allowed";
    assert_eq!(words(&labels), format!("a hello frame cannot be read: {over}"));
    let answer = unlimited(4, 3, |e| {
        start(e);
        e.text(&"x".repeat(MAX_ANSWER_BYTES + 1));
    });
    let over = "an answer is 1048577, at most 1048576 is allowed";
    assert_eq!(words(&answer), format!("a answer frame cannot be read: {over}"));
    let fields = unlimited(4, 64, |e| (0..64).for_each(|_| e.boolean(true)));
    assert_eq!(words(&fields), "a protocol frame cannot be read: a frame is 65, at most 64 is allowed");
}

/// Texts for people may be of any length on the device: the cloud gets their beginnings.
#[test]
fn a_device_sends_what_the_cloud_takes() {
    let long = || "\u{e4}".repeat(MAX_ANSWER_BYTES);
    let status = ModuleStatus {
        state: ModuleState::Failed,
        image: long(),
        restarts: 0,
        exit_code: None,
        problem: long(),
        health: None,
        output: long(),
    };
    let report = Report {
        number: 1,
        full: true,
        modules: (0..300).map(|n| (format!("w/m{n}"), status.clone())).collect(),
        peers: Some(vec![PublicKey::from_bytes([1; 32]); MAX_PEERS + 1]),
        problems: Some(vec![long(); MAX_PROBLEMS + 1]),
        ..Report::default()
    };
    let ToCloud::Report(came) = decode(&body(&ToCloud::Report(Box::new(report)))).unwrap() else {
        panic!("no report")
    };
    let problems = came.problems.unwrap();
    assert_eq!((came.modules.len(), problems.len()), (300, MAX_PROBLEMS));
    assert_eq!(problems[0].len(), MAX_PROBLEM_BYTES);
    assert_eq!(came.peers.unwrap().len(), MAX_PEERS);
    let answer = ToCloud::Answer(Answer { id: 1, result: Ok(long()) });
    let ToCloud::Answer(came) = decode(&body(&answer)).unwrap() else { panic!("no answer") };
    assert_eq!(came.result.unwrap().len(), MAX_ANSWER_BYTES);
}

#[tokio::test]
async fn frames_are_read_one_after_another_and_lengths_are_checked_first() {
    let mut bytes = ToDevice::Welcome.encode().unwrap().to_vec();
    bytes.extend(ToDevice::Refused { reason: "no".into() }.encode().unwrap());
    bytes.extend([0xff, 0xff, 0xff, 0xff]);
    let mut stream = bytes.as_slice();
    let limit = MAX_FRAME_BYTES;
    assert_eq!(read_frame::<ToDevice>(&mut stream, limit).await.unwrap(), Some(ToDevice::Welcome));
    assert!(matches!(read_frame(&mut stream, limit).await.unwrap(), Some(ToDevice::Refused { .. })));
    assert!(matches!(read_frame::<ToDevice>(&mut stream, limit).await, Err(WireError::TooLarge { .. })));

    assert_eq!(read_frame::<ToDevice>(&mut [].as_slice(), limit).await.unwrap(), None);
    let cut = read_frame::<ToDevice>(&mut [0, 0, 0, 9, 0x81].as_slice(), limit).await;
    assert!(matches!(cut, Err(WireError::Io(_))), "{cut:?}");
}

prop_compose! {
    fn any_key()(bytes in any::<[u8; 32]>()) -> PublicKey {
        PublicKey::from_bytes(bytes)
    }
}

prop_compose! {
    fn any_message()(
        origin in any_key(), source in ".{0,20}", topic in ".{0,40}",
        properties in collection::btree_map(".{0,9}", ".{0,9}", 0..3),
        payload in collection::vec(any::<u8>(), 0..300), accepted_ms in any::<u64>(),
    ) -> Message {
        Message { origin, source: source.into(), topic: topic.into(), properties, payload: payload.into(), accepted_ms }
    }
}

prop_compose! {
    fn any_hello()(
        name in ".{0,20}", version in ".{0,20}", labels in collection::vec((".{0,9}", ".{0,9}"), 0..4),
        token in proptest::option::of(".{0,20}"), run in any::<u64>(),
        grant in proptest::option::of(collection::vec(any::<u8>(), 0..20)),
    ) -> Hello {
        Hello { protocol: PROTOCOL, name, version, labels, token, run, grant: grant.map(Bytes::from) }
    }
}

prop_compose! {
    fn any_batch()(
        route in ".{0,20}", epoch in any::<u64>(), after in any::<u64>(), first_seq in any::<u64>(),
        messages in collection::vec(any_message(), 0..4),
    ) -> Batch {
        Batch { route, epoch, after, first_seq, messages }
    }
}

fn any_to_cloud() -> impl Strategy<Value = ToCloud> {
    let answer = (any::<u64>(), any::<bool>(), ".{0,50}")
        .prop_map(|(id, good, text)| Answer { id, result: if good { Ok(text) } else { Err(text) } });
    prop_oneof![
        any_hello().prop_map(ToCloud::Hello),
        any_report().prop_map(Box::new).prop_map(ToCloud::Report),
        any_batch().prop_map(ToCloud::Batch),
        answer.prop_map(ToCloud::Answer),
        any_twin(),
        (any::<[u8; 32]>(), ".{0,30}").prop_map(|(sha256, reason)| ToCloud::TwinRefused { sha256, reason }),
        collection::vec(any_module_id(), 0..4).prop_map(ToCloud::TwinNames),
    ]
}

fn any_module_id() -> impl Strategy<Value = wayside_config::workload::ModuleId> {
    ("[a-z]{1,9}", "[a-z]{1,9}")
        .prop_map(|(workload, module)| wayside_config::workload::ModuleId::new(workload, module))
}

fn any_twin() -> impl Strategy<Value = ToCloud> {
    use wayside_actors::device::twins::{Side, Twin};
    let side = || (any::<u64>(), ".{0,30}").prop_map(|(version, properties)| Side { version, properties });
    (any_module_id(), any::<u64>(), side(), side(), any::<[u8; 32]>()).prop_map(
        |(module, life, desired, reported, changed_by)| {
            ToCloud::Twin(module, Box::new(Twin { life, desired, reported, changed_by }))
        },
    )
}

fn any_bytes() -> impl Strategy<Value = Bytes> {
    collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from)
}

fn any_to_device() -> impl Strategy<Value = ToDevice> {
    let list = || collection::vec(any_bytes(), 0..4);
    let desired = (list(), proptest::option::of(any_bytes()), any_bytes(), list()).prop_map(
        |(roots, revocation, assignment, releases)| Desired { roots, revocation, assignment, releases },
    );
    let confirm = (".{0,20}", any::<u64>(), any::<u64>()).prop_map(|(route, epoch, upto)| Confirm {
        route,
        epoch,
        upto,
    });
    let ask =
        (any::<u64>(), ".{0,20}", any::<u32>(), any::<u64>()).prop_map(|(id, module, tail, since_ms)| Ask {
            id,
            question: Question::Logs { module, tail, since_ms },
        });
    prop_oneof![
        Just(ToDevice::Welcome),
        ".{0,50}".prop_map(|reason| ToDevice::Refused { reason }),
        desired.prop_map(ToDevice::Desired),
        confirm.prop_map(ToDevice::Confirm),
        ask.prop_map(ToDevice::Ask),
        any_bytes().prop_map(ToDevice::Twin),
        (any::<u64>(), any_bytes())
            .prop_map(|(id, request)| ToDevice::Ask(Ask { id, question: Question::Sealed { request } })),
    ]
}

proptest! {
    #[test]
    fn to_cloud_comes_back_as_it_was(frame in any_to_cloud()) {
        prop_assert_eq!(ToCloud::decode(body(&frame)).unwrap(), frame);
    }

    #[test]
    fn to_device_comes_back_as_it_was(frame in any_to_device()) {
        prop_assert_eq!(ToDevice::decode(body(&frame)).unwrap(), frame);
    }

    #[test]
    fn random_bytes_are_an_error_at_worst(bytes in any_bytes()) {
        hostile::read(&bytes);
        hostile::stream(&bytes);
    }

    #[test]
    fn a_damaged_frame_is_an_error_at_worst(frame in any_to_cloud(), at in any::<prop::sample::Index>(), bit in 0..8u32) {
        let mut bytes = body(&frame).to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        hostile::read(&bytes);
        hostile::stream(&[&u32::try_from(bytes.len()).unwrap().to_be_bytes(), &*bytes].concat());
        bytes.truncate(at);
        prop_assert!(ToCloud::decode(bytes.into()).is_err());
    }
}
