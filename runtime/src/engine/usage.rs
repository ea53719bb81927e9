//! What modules use of the CPU and the memory: from the kernel's files where they can be seen, for that costs next to
//! nothing, and else, as in a container, from the engine, which is asked seldom.

mod cgroup;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bollard::{
    models::{ContainerInspectResponse, ContainerStatsResponse},
    query_parameters::StatsOptions,
};
use futures_util::StreamExt;
use tokio::{task::spawn_blocking, time::timeout};
use wayside_actors::{
    device::{health, wiring},
    report::Usage,
};

use self::cgroup::{Cgroup, Sample};
use super::{Ready, Shared};

/// Between two rounds.
const EVERY: Duration = Duration::from_secs(10);

/// The engine is asked in each such round only, after the first two, which give the first share of the CPU.
const ASK_EVERY: u64 = 6;

/// For an answer of the engine.
const ANSWER: Duration = Duration::from_secs(10);

/// A container that is looked at.
struct Watched {
    /// Where the kernel shows what it uses, if that can be seen from here.
    cgroup: Option<Cgroup>,
    rounds: u64,
    /// Its CPU time, and when it had used that.
    before: Option<(Instant, u64)>,
    usage: Usage,
}

/// Looks at what runs, and tells when it uses something else.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut watched = BTreeMap::<String, Watched>::new();
    let mut told = None;
    loop {
        tokio::time::sleep(EVERY).await;
        let running = shared.running.now();
        watched.retain(|container, _| running.values().any(|runs| runs == container));
        let mut usage = BTreeMap::new();
        for (module, container) in running {
            if let Some(used) = look(&shared, &mut watched, &container).await {
                usage.insert(module, used);
            }
        }
        if told.as_ref() != Some(&usage) {
            told = Some(usage.clone());
            shared.tell(wiring::Event::Health(health::Event::Usage(usage))).await;
        }
    }
}

/// What a container uses; `None` when it is gone.
async fn look(shared: &Shared, watched: &mut BTreeMap<String, Watched>, container: &str) -> Option<Usage> {
    let ready = shared.engine().ok();
    if !watched.contains_key(container) {
        let new = Watched::begin(ready.as_ref()?, container).await?;
        watched.insert(container.to_owned(), new);
    }
    let known = watched.get_mut(container)?;
    let (round, at) = (known.rounds, Instant::now());
    known.rounds += 1;
    let sample = if let Some(cgroup) = known.cgroup.clone() {
        spawn_blocking(move || cgroup.read()).await.ok()?
    } else {
        let is_due = round < 2 || round.is_multiple_of(ASK_EVERY);
        // What cannot be asked now is as it was.
        let Some(ready) = ready.filter(|_| is_due) else { return Some(known.usage.clone()) };
        asked(&ready, container).await
    };
    known.take(at, sample?);
    Some(known.usage.clone())
}

impl Watched {
    async fn begin(ready: &Ready, container: &str) -> Option<Self> {
        let inspecting = timeout(ANSWER, ready.docker.inspect_container(container, None));
        let inspected = inspecting.await.ok()?.ok()?;
        let pid = inspected.state.as_ref()?.pid.filter(|pid| *pid > 0)?;
        let id = container.to_owned();
        let cgroup = spawn_blocking(move || Cgroup::of(pid, &id)).await.ok()?;
        let limit = inspected.host_config.as_ref().and_then(|config| config.memory);
        let usage = Usage {
            memory_limit_bytes: limit.and_then(|bytes| u64::try_from(bytes).ok()).filter(|bytes| *bytes > 0),
            digest: digest(ready, &inspected).await,
            ..Usage::default()
        };
        Some(Self { cgroup, rounds: 0, before: None, usage })
    }

    fn take(&mut self, at: Instant, sample: Sample) {
        self.usage.memory_bytes = sample.memory_bytes;
        if let Some((before, cpu_us)) = self.before {
            let passed_us = at.duration_since(before).as_micros().max(1);
            let spent_us = u128::from(sample.cpu_us.saturating_sub(cpu_us));
            self.usage.cpu_millis = Some(u32::try_from(spent_us * 1000 / passed_us).unwrap_or(u32::MAX));
        }
        self.before = Some((at, sample.cpu_us));
    }
}

/// What a container was made from: the digest that its registry gave it, or else the engine's name for its content.
async fn digest(ready: &Ready, container: &ContainerInspectResponse) -> String {
    let Some(id) = container.image.clone() else { return String::new() };
    let named = container.config.as_ref().and_then(|config| config.image.as_deref()).unwrap_or_default();
    let inspecting = timeout(ANSWER, ready.docker.inspect_image(&id));
    let digests = match inspecting.await {
        Ok(Ok(image)) => image.repo_digests.unwrap_or_default(),
        Ok(Err(_)) | Err(_) => Vec::new(),
    };
    of_repository(&digests, named).map_or(id, str::to_owned)
}

/// The digest in the repository of the image's name, or in another that has it too.
fn of_repository<'a>(digests: &'a [String], named: &str) -> Option<&'a str> {
    let pairs = || digests.iter().filter_map(|digest| digest.split_once('@'));
    let own = pairs().find(|(repository, _)| {
        named.strip_prefix(repository).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '@']))
    });
    own.or_else(|| pairs().next()).map(|(_, digest)| digest)
}

async fn asked(ready: &Ready, container: &str) -> Option<Sample> {
    let options = StatsOptions { stream: false, one_shot: true };
    let mut answers = std::pin::pin!(ready.docker.stats(container, Some(options)));
    of_answer(&timeout(ANSWER, answers.next()).await.ok()??.ok()?)
}

fn of_answer(stats: &ContainerStatsResponse) -> Option<Sample> {
    let cpu_ns = stats.cpu_stats.as_ref()?.cpu_usage.as_ref()?.total_usage?;
    let memory = stats.memory_stats.as_ref()?;
    // The first two are of the one and of the other version of control groups.
    let inactive = memory
        .stats
        .as_ref()
        .and_then(|stats| stats.get("total_inactive_file").or_else(|| stats.get("inactive_file")).copied());
    let memory_bytes = memory.usage?.saturating_sub(inactive.unwrap_or_default());
    Some(Sample { cpu_us: cpu_ns / 1000, memory_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_what_was_used_between_two_looks() {
        let mut watched = Watched { cgroup: None, rounds: 0, before: None, usage: Usage::default() };
        let at = Instant::now();
        watched.take(at, Sample { cpu_us: 5_000_000, memory_bytes: 7 });
        assert_eq!((watched.usage.cpu_millis, watched.usage.memory_bytes), (None, 7));
        watched.take(at + Duration::from_secs(10), Sample { cpu_us: 20_000_000, memory_bytes: 9 });
        assert_eq!((watched.usage.cpu_millis, watched.usage.memory_bytes), (Some(1500), 9));
    }

    #[test]
    fn the_digest_is_that_of_the_repository_it_was_named_by() {
        let digests = ["mirror/app@sha256:2", "registry:5000/app@sha256:1"].map(String::from);
        for (named, expected) in [
            ("registry:5000/app", Some("sha256:1")),
            ("registry:5000/app:2", Some("sha256:1")),
            ("registry:5000/app-b", Some("sha256:2")),
            ("sha256:77", Some("sha256:2")),
        ] {
            assert_eq!(of_repository(&digests, named), expected, "{named}");
        }
        assert_eq!(of_repository(&[], "app"), None);
    }

    #[test]
    fn the_engines_answer_is_understood() {
        let answer = |memory: &str| {
            let text = format!(
                "{{\"cpu_stats\": {{\"cpu_usage\": {{\"total_usage\": 3000000}}}}, \"memory_stats\": {memory}}}"
            );
            of_answer(&serde_json::from_str(&text).unwrap())
        };
        let sample = |memory_bytes| Some(Sample { cpu_us: 3000, memory_bytes });
        assert_eq!(answer("{\"usage\": 100, \"stats\": {\"inactive_file\": 40}}"), sample(60));
        assert_eq!(
            answer("{\"usage\": 100, \"stats\": {\"inactive_file\": 1, \"total_inactive_file\": 30}}"),
            sample(70)
        );
        assert_eq!(answer("{\"usage\": 100}"), sample(100));
        // Of one that has ended.
        assert_eq!(answer("{}"), None);
    }
}
