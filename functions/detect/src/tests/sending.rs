//! What SES says about sending becomes alerts of the tenant, each change notified once, whichever call a process dies at.

use super::*;

/// What SES publishes when it changes the status of a resource.
fn status(name: &str, resource: &str, minute: i64) -> String {
    format!(
        r#"{{"version":"0","id":"1","detail-type":"Sending Status {name}","source":"aws.ses","account":"123456789012","time":"{}","region":"us-east-1","resources":["arn:aws:ses:us-east-1:123456789012:{resource}"],"detail":{{"version":"1.0.0","data":{{"record":{{"cause":"High bounce rate"}}}}}}}}"#,
        minutes(minute)
    )
}

async fn count_status(store: &MemoryStore, number: u64, event: &str) {
    let shard = ShardId::new("shard-1").unwrap();
    let totals = counting::count(store, &shard, number, event.as_bytes(), START).await.unwrap();
    assert_eq!((totals.ignored, totals.aggregated, totals.quarantined), (1, 0, 0));
}

fn notified(channel: &RecordingChannel) -> Vec<(String, &'static str, u32)> {
    let notifications = channel.notifications().into_iter();
    notifications.map(|(tenant, _, state, sequence)| (tenant, state, sequence)).collect()
}

#[tokio::test]
async fn disabled_sending_is_an_alert_of_the_tenant_also_before_any_mail() {
    let (store, channel) = (MemoryStore::new(), RecordingChannel::default());
    count_status(&store, 1, &status("Disabled", "tenant/globex/tn-1", 5)).await;
    let mut cache = DetectionCache::default();
    for at in [6, 7] {
        run(&store, &channel, &mut cache, at).await.unwrap();
        assert_eq!(notified(&channel), [("globex".to_owned(), "firing", 1)]);
    }
    let alerts = registry::list(&store, &scope("globex"), &alerts_of_the_day()).await.unwrap();
    let [alert] = alerts.as_slice() else { panic!("{alerts:?}") };
    assert!(alert.is_open());
    assert_eq!(alert.change.kind, detection::AlertKind::Sending);
    assert_eq!(alert.change.severity, detection::Severity::Critical);
    assert_eq!(alert.change.summary, "SES has disabled sending for tenant globex: High bounce rate.");
    assert!(registry::list(&store, &scope("acme"), &alerts_of_the_day()).await.unwrap().is_empty());
    // Delivered again, and then enabled, in a new process.
    count_status(&store, 2, &status("Disabled", "tenant/globex/tn-1", 5)).await;
    count_status(&store, 3, &status("Enabled", "tenant/globex/tn-1", 9)).await;
    run(&store, &channel, &mut DetectionCache::default(), 10).await.unwrap();
    assert_eq!(notified(&channel)[1..], [("globex".to_owned(), "resolved", 2)]);
    let alerts = registry::list(&store, &scope("globex"), &alerts_of_the_day()).await.unwrap();
    assert!(alerts.len() == 1 && !alerts[0].is_open(), "{alerts:?}");
}

#[tokio::test]
async fn account_that_belongs_to_no_tenant_concerns_the_operator() {
    let (store, channel) = (MemoryStore::new(), RecordingChannel::default());
    count_status(&store, 1, &status("Disabled", "configuration-set/unmapped", 5)).await;
    run(&store, &channel, &mut DetectionCache::default(), 6).await.unwrap();
    assert_eq!(notified(&channel), [("*".to_owned(), "firing", 1)]);
    let alerts = registry::list(&store, &cells::query::Scope::All, &alerts_of_the_day()).await.unwrap();
    assert_eq!(alerts[0].change.scope["configuration_set"], "unmapped");
}

#[tokio::test]
async fn channel_that_is_down_is_notified_by_the_next_run() {
    let store = MemoryStore::new();
    count_status(&store, 1, &status("Disabled", "tenant/globex/tn-1", 5)).await;
    let down = RecordingChannel { is_down: true, ..RecordingChannel::default() };
    let failed = run(&store, &down, &mut DetectionCache::default(), 6).await;
    assert!(matches!(failed, Err(DetectionError::Notify { count: 1, .. })), "{failed:?}");
    let channel = RecordingChannel::default();
    run(&store, &channel, &mut DetectionCache::default(), 7).await.unwrap();
    run(&store, &channel, &mut DetectionCache::default(), 8).await.unwrap();
    assert_eq!(notified(&channel).len(), 1);
}

#[tokio::test]
async fn alert_of_an_erased_tenant_is_forgotten() {
    let (store, channel) = (MemoryStore::new(), RecordingChannel::default());
    count_status(&store, 1, &status("Disabled", "tenant/globex/tn-1", 5)).await;
    run(&store, &channel, &mut DetectionCache::default(), 6).await.unwrap();
    pipeline::directory::erasure::erase(&store, &TenantId::new("globex").unwrap()).await.unwrap();
    run(&store, &channel, &mut DetectionCache::default(), 7).await.unwrap();
    // Trouble of whoever has the name now is another alert, and its beginning is the first change of it.
    count_status(&store, 2, &status("Enabled", "tenant/globex/tn-2", 8)).await;
    count_status(&store, 3, &status("Disabled", "tenant/globex/tn-2", 9)).await;
    run(&store, &channel, &mut DetectionCache::default(), 10).await.unwrap();
    assert_eq!(notified(&channel)[1..], [("globex".to_owned(), "firing", 1)]);
}

#[tokio::test]
async fn each_change_about_sending_is_notified_whichever_call_the_process_dies_at() {
    let store = async || {
        let store = MemoryStore::new();
        count_status(&store, 1, &status("Disabled", "tenant/globex/tn-1", 5)).await;
        count_status(&store, 2, &status("Disabled", "configuration-set/other", 5)).await;
        store
    };
    let mut crashes = 0;
    for acts in [false, true] {
        for last in 0.. {
            let inner = Arc::new(store().await);
            let (channel, crashing) = (
                RecordingChannel::default(),
                CrashingStore { inner: Arc::clone(&inner), calls: AtomicUsize::new(0), last, acts },
            );
            let died = run(&crashing, &channel, &mut DetectionCache::default(), 6).await.is_err();
            let notified_before = channel.notifications().len();
            for at in [7, 8] {
                run(&*inner, &channel, &mut DetectionCache::default(), at).await.unwrap();
            }
            count_status(&inner, 3, &status("Enabled", "tenant/globex/tn-1", 9)).await;
            run(&*inner, &channel, &mut DetectionCache::default(), 10).await.unwrap();
            let mut each = BTreeMap::new();
            for change in notified(&channel) {
                *each.entry(change).or_insert(0) += 1;
            }
            let expected = [("*", "firing", 1), ("globex", "firing", 1), ("globex", "resolved", 2)];
            let found = each.keys().map(|(tenant, state, sequence)| (tenant.as_str(), *state, *sequence));
            assert!(found.eq(expected), "call {last}, {acts}: {each:?}");
            let twice = each.values().filter(|&&times| times > 1).count();
            assert!(twice <= notified_before, "call {last}, {acts}: {each:?}");
            assert_eq!(
                registry::list(&*inner, &scope("globex"), &alerts_of_the_day()).await.unwrap().len(),
                1
            );
            if !died {
                break;
            }
            crashes += 1;
        }
    }
    assert!(crashes > 12, "{crashes} crashes are too few");
}
