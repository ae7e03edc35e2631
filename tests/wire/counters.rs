//! The counters of connections that are closed instead of used again.

use std::collections::BTreeMap;
use std::time::Duration;

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use shardlet::Validation;

use crate::backend::{RESET, backend, echo, patient, routed, shard_server, soon, validated};
use crate::endpoint::Answer;

#[tokio::test]
async fn each_connection_that_is_closed_instead_of_used_again_is_counted() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let recording = metrics::set_default_local_recorder(&recorder);
    let server = shard_server().await;
    let two = || patient().max_connections_per_shard(2);

    let old = backend(&server, two().max_age(Duration::ZERO));
    drop(routed(&old, &server, Validation::None).await.unwrap());
    drop(routed(&old, &server, Validation::None).await.unwrap());
    let idle = backend(&server, two().idle_time(Duration::ZERO));
    drop(routed(&idle, &server, Validation::None).await.unwrap());
    drop(routed(&idle, &server, Validation::None).await.unwrap());
    server.on_procedure(RESET, |_| Answer::failed(50000, "no")).times(1);
    let stuck = backend(&server, two());
    let held = validated(&stuck, &server).await;
    for _ in 0..3 {
        let mut connection = validated(&stuck, &server).await;
        assert_eq!(echo(&mut connection, 1).await.unwrap(), Some(1));
    }
    drop(recording);

    let mut counted = BTreeMap::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let key = key.key();
        if key.name() == "shardlet_discarded_connections_total" {
            let DebugValue::Counter(count) = value else { panic!("{value:?} is no counter") };
            let reason: Vec<_> = key.labels().map(|label| label.value().to_owned()).collect();
            let _ = counted.insert(reason.join(","), count);
        }
    }
    let expected = [("abandoned", 1), ("idle", 1), ("old", 1)].map(|(reason, count)| (reason.to_owned(), count));
    assert_eq!(counted, BTreeMap::from(expected));
    drop(held);
    soon(server.until(|server| server.open() == 4)).await;
}
