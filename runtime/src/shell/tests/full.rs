//! Who waits, and who does not, when there is no room: on the disk of the twins, in a mailbox, on the uplink.

use std::{fs, path::PathBuf};

use wayside_actors::{
    device::{
        twins::{self, Twin},
        wiring::Out,
    },
    frame::{Answer, ToCloud},
    message::Batch,
    report::Report,
};
use wayside_config::workload::ModuleId;

use super::*;
use crate::shell::{ROOM_OF_OTHERS, keep};

fn sensor() -> ModuleId {
    "w/sensor".parse().unwrap()
}

/// The disk has no room for one file until this is dropped.
struct FullDisk(PathBuf);

impl FullDisk {
    /// For the sensor's twin.
    fn of(fixture: &Fixture) -> Self {
        Self::of_file(fixture, "twins/w.sensor")
    }

    fn of_file(fixture: &Fixture, name: &str) -> Self {
        let path = fixture.device.adapters().state.path().join(format!("{name}.new"));
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        Self(path)
    }
}

impl Drop for FullDisk {
    fn drop(&mut self) {
        // The test may have failed before.
        let _ = fs::remove_file(&self.0);
    }
}

fn reports(count: u64) -> impl Iterator<Item = Event> {
    (1..=count).map(|ticket| {
        let patch = format!("{{\"n\":{ticket}}}").into();
        Event::Twins(twins::Event::Reported { ticket, module: sensor(), patch, wall_ms: 1 })
    })
}

impl Fixture {
    /// What an operator sees, who is answered within five seconds.
    async fn look(&self) -> Result<Box<Twin>, String> {
        let (question, answer) = self.device.adapters().twins.wait().unwrap();
        let looks = Event::Twins(twins::Event::Look { question, module: sensor() });
        timeout(Duration::from_secs(5), async {
            self.device.send(looks, 0).await;
            answer.await.unwrap()
        })
        .await
        .unwrap()
    }

    /// Until the sensor has a twin, on the disk.
    async fn has_twin(&self) {
        while self.look().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn on_disk(&self) -> u64 {
        let (twins, problems) = crate::twins::load(&self.device.adapters().state).unwrap();
        assert_eq!(problems, [""; 0]);
        twins[&sensor()].reported.version
    }

    fn problems(&self) -> String {
        self.view().report().problems.unwrap_or_default().join("\n")
    }
}

#[test]
fn twins_wait_while_the_disk_is_full_and_nobody_else_does() {
    on_actix(|| async {
        let fixture = Fixture::boot();
        let mut tap = fixture.view().tap();
        fixture.has_twin().await;
        let full = FullDisk::of(&fixture);
        fixture.device.send_all(reports(2)).await;
        fixture.until(|fixture| fixture.problems().contains("make room on the disk")).await;
        assert!(fixture.problems().contains("a twin could not be written"), "{}", fixture.problems());
        assert_eq!(fixture.on_disk(), 0);
        // What is not on the disk is told to nobody.
        assert!(tap.recv().now_or_never().is_none());
        fixture.device.send(published(), 1).await;
        let tapped = timeout(Duration::from_secs(5), tap.recv()).await.unwrap().unwrap();
        assert_eq!(tapped.route, "w/out");
        drop(full);
        fixture.until(|fixture| fixture.on_disk() == 2 && fixture.problems().is_empty()).await;
        assert_eq!(fixture.look().await.unwrap().reported.properties, "{\"n\":2}");
    });
}

#[test]
fn versions_wait_while_the_disk_is_full_and_what_was_wrong_is_forgotten_then() {
    on_actix(|| async {
        let fixture = Fixture::boot();
        fixture.device.adapters().state.folder("workloads").unwrap();
        let full = FullDisk::of_file(&fixture, "workloads/w");
        let save = Out::Io(io::Io::SaveLife("w".into(), Box::default()));
        let committing = keep::commit(&fixture.device, keep::ToKeep::sorted([save].into_iter()).unwrap());
        tokio::pin!(committing);
        timeout(Duration::from_secs(1), &mut committing).await.expect_err("there is no room");
        fixture
            .until(|fixture| fixture.problems().contains("the versions of a workload could not be written"))
            .await;
        drop(full);
        timeout(Duration::from_secs(5), committing).await.unwrap().unwrap();
        fixture.until(|fixture| fixture.problems().is_empty()).await;
    });
}

#[test]
fn short_reports_fill_a_mailbox_by_what_they_lead_to() {
    on_actix(|| async {
        let fixture = Fixture::boot();
        fixture.has_twin().await;
        let full = FullDisk::of(&fixture);
        let soon = Duration::from_millis(500);
        timeout(soon, fixture.device.send_all(reports(40))).await.expect("there is room for so many");
        // Of 8 MiB each takes 192 KiB, though it says next to nothing.
        let waiting = fixture.device.send_all(reports(5));
        tokio::pin!(waiting);
        timeout(soon, &mut waiting).await.expect_err("there is no room for so many");
        drop(full);
        timeout(Duration::from_secs(5), waiting).await.unwrap();
    });
}

#[test]
fn a_full_uplink_holds_nobody_up_and_what_was_not_told_is_told_later() {
    on_actix(|| async {
        let (uplink, mut commands) = mpsc::channel(1 + ROOM_OF_OTHERS);
        let fixture = Fixture::boot_with(Some(uplink));
        fixture.has_twin().await;
        let send = |frame| fixture.device.io(io::Io::Uplink(io::Uplink::Send(frame)));
        let batch = || {
            let messages = Vec::new();
            ToCloud::Batch(Batch { route: "w/out".into(), epoch: 1, after: 0, first_seq: 1, messages })
        };
        let fill = async {
            for _ in 0..5 {
                send(batch()).await;
            }
            // Batches leave room for others.
            for id in 0..2 * ROOM_OF_OTHERS as u64 {
                send(ToCloud::Answer(Answer { id, result: Ok(String::new()) })).await;
            }
        };
        timeout(Duration::from_secs(5), fill).await.expect("nobody waits");
        fixture.device.tell(Event::Twins(twins::Event::CloudUp));
        fixture.device.send_all(reports(1)).await;
        assert_eq!(fixture.look().await.unwrap().reported.version, 1, "operators and modules do not wait");
        let sent: Vec<_> = std::iter::from_fn(|| commands.try_recv().ok()).collect();
        let batches = sent.iter().filter(|sent| matches!(sent, io::Uplink::Send(ToCloud::Batch(_))));
        assert_eq!((sent.len(), batches.count()), (1 + ROOM_OF_OTHERS, 1));
        let mut told = Vec::new();
        while told.len() < 2 {
            let next = timeout(Duration::from_secs(5), commands.recv()).await.unwrap().unwrap();
            let io::Uplink::Together(frames) = next else { panic!("{next:?}") };
            told.extend(frames);
        }
        assert_eq!(told[0], ToCloud::TwinNames(vec![sensor()]));
        assert!(matches!(&told[1], ToCloud::Twin(_, twin) if twin.reported.version == 1), "{told:?}");
    });
}

#[test]
fn after_a_report_that_found_no_room_none_goes_before_a_full_one() {
    on_actix(|| async {
        let (uplink, mut commands) = mpsc::channel(1);
        let fixture = Fixture::boot_with(Some(uplink));
        let report = |number, full| ToCloud::Report(Box::new(Report { number, full, ..Report::default() }));
        let send = |frame| fixture.device.io(io::Io::Uplink(io::Uplink::Send(frame)));
        send(report(1, true)).await;
        send(report(2, false)).await;
        let next = |commands: &mut mpsc::Receiver<io::Uplink>| commands.try_recv().ok();
        assert_eq!(next(&mut commands), Some(io::Uplink::Send(report(1, true))));
        // There is room again, and the second is missing.
        send(report(3, false)).await;
        assert_eq!(next(&mut commands), None);
        for (number, full) in [(4, true), (5, false)] {
            send(report(number, full)).await;
            assert_eq!(next(&mut commands), Some(io::Uplink::Send(report(number, full))));
        }
    });
}
