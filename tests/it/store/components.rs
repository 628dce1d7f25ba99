use bellcage::job::{ComponentName, Digest, TenantId, Version};
use bellcage::store::{ComponentVersion, OnConflict, PageRequest, Pushed, Store, StoreError};
use serde_json::json;

use super::{add, at, first_page, job, job_with, key, rules};

fn name(name: &str) -> ComponentName {
    name.parse().unwrap()
}

async fn push(store: &dyn Store, component: &str, bytes: &[u8]) -> Pushed {
    store.push_component(&TenantId::default(), &name(component), bytes.to_vec(), json!({ "of": bytes.len() }), at(0)).await.unwrap()
}

async fn remove(store: &dyn Store, component: &str, version: Option<u32>) -> Result<u32, StoreError> {
    store.remove_component(&TenantId::default(), &name(component), version).await
}

async fn find(store: &dyn Store, component: &str, version: Version) -> Result<ComponentVersion, StoreError> {
    store.component(&TenantId::default(), &name(component), version).await
}

rules! {
    fn each_push_of_other_bytes_is_one_more_version(store) {
        for (n, bytes) in [b"one", b"two"].into_iter().enumerate() {
            let pushed = push(store, "reports", bytes).await;
            assert!(pushed.new);
            let expected = ComponentVersion {
                tenant: TenantId::default(),
                name: name("reports"),
                version: n as u32 + 1,
                digest: Digest::of(bytes),
                size: 3,
                pushed_at: at(0),
                inspection: json!({ "of": 3 }),
            };
            assert_eq!(pushed.component, expected);
            assert_eq!(find(store, "reports", Version::Newest).await.unwrap(), expected);
        }
    }

    fn the_bytes_of_the_newest_version_make_no_new_one(store) {
        push(store, "reports", b"one").await;
        let second = push(store, "reports", b"two").await;
        assert_eq!(push(store, "reports", b"two").await, Pushed { new: false, ..second });
        assert_eq!(push(store, "reports", b"one").await.component.version, 3);
    }

    fn a_version_is_found_by_number_and_by_digest(store) {
        push(store, "reports", b"one").await;
        push(store, "reports", b"two").await;
        assert_eq!(find(store, "reports", Version::Number(1)).await.unwrap().digest, Digest::of(b"one"));
        assert_eq!(find(store, "reports", Version::Digest(Digest::of(b"one"))).await.unwrap().version, 1);
        let missing = find(store, "reports", Version::Number(3)).await.unwrap_err();
        assert_eq!(missing.to_string(), "component \"reports\" version 3 does not exist");
        assert!(matches!(find(store, "other", Version::Newest).await, Err(StoreError::NotFound { .. })));
    }

    fn bytes_are_found_by_their_digest(store) {
        push(store, "reports", b"one").await;
        assert_eq!(store.component_bytes(&Digest::of(b"one")).await.unwrap(), b"one");
        assert!(matches!(store.component_bytes(&Digest::of(b"two")).await, Err(StoreError::NotFound { .. })));
    }

    fn components_are_listed_by_name_in_their_newest_version(store) {
        for (component, bytes) in [("b", b"1"), ("a", b"1"), ("c", b"1"), ("a", b"2")] {
            push(store, component, bytes).await;
        }
        let tenant = TenantId::default();
        let page = store.components(&tenant, first_page(2)).await.unwrap();
        assert_eq!(page.items.iter().map(|c| (c.name.as_str(), c.version)).collect::<Vec<_>>(), [("a", 2), ("b", 1)]);
        let page = store.components(&tenant, PageRequest { after: page.next, limit: 2 }).await.unwrap();
        assert_eq!(page.items.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["c"]);
        assert_eq!(page.next, None);
    }

    fn versions_are_listed_newest_first(store) {
        push(store, "reports", b"one").await;
        push(store, "reports", b"two").await;
        let versions = store.component_versions(&TenantId::default(), &name("reports")).await.unwrap();
        assert_eq!(versions.iter().map(|v| v.version).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(store.component_versions(&TenantId::default(), &name("other")).await.unwrap(), []);
    }

    fn jobs_using_a_component_are_found_whatever_their_version(store) {
        for (id, reference) in [("c", "reports@2"), ("a", "reports"), ("b", "other"), ("d", "reports")] {
            add(store, job_with(id, |spec| spec.component = reference.parse().unwrap())).await;
        }
        assert_eq!(store.jobs_using(&TenantId::default(), &name("reports")).await.unwrap(), [key("a"), key("c"), key("d")]);
    }

    fn jobs_using_a_component_follow_a_replaced_and_a_removed_job(store) {
        add(store, job("a")).await;
        add(store, job("b")).await;
        store.add_job(job_with("a", |spec| spec.component = "other".parse().unwrap()), OnConflict::Replace).await.unwrap();
        store.remove_job(&key("b"), at(1)).await.unwrap();
        assert_eq!(store.jobs_using(&TenantId::default(), &name("reports")).await.unwrap(), []);
        assert_eq!(store.jobs_using(&TenantId::default(), &name("other")).await.unwrap(), [key("a")]);
    }

    fn a_component_that_jobs_use_is_not_removed(store) {
        push(store, "reports", b"one").await;
        add(store, job_with("a", |spec| spec.component = "reports@7".parse().unwrap())).await;
        match remove(store, "reports", None).await {
            Err(StoreError::InUse { name, jobs }) => assert_eq!((name.as_str(), jobs), ("reports", vec![key("a")])),
            other => panic!("{other:?}"),
        }
    }

    fn a_version_is_in_use_when_pinned_or_followed(store) {
        for bytes in [b"one", b"two", b"tre", b"for"] {
            push(store, "reports", bytes).await;
        }
        let digest = Digest::of(b"two");
        for (id, reference) in [("number", "reports@1".to_owned()), ("digest", format!("reports@{digest}")), ("newest", "reports".to_owned())] {
            add(store, job_with(id, |spec| spec.component = reference.parse().unwrap())).await;
        }
        for (version, user) in [(1, "number"), (2, "digest"), (4, "newest")] {
            match remove(store, "reports", Some(version)).await {
                Err(StoreError::InUse { jobs, .. }) => assert_eq!(jobs, [key(user)]),
                other => panic!("version {version}: {other:?}"),
            }
        }
        assert_eq!(remove(store, "reports", Some(3)).await.unwrap(), 1);
    }

    fn bytes_that_nothing_names_go_with_the_last_version(store) {
        push(store, "reports", b"one").await;
        push(store, "reports", b"two").await;
        push(store, "copy", b"one").await;
        assert_eq!(remove(store, "reports", None).await.unwrap(), 2);
        assert!(find(store, "reports", Version::Newest).await.is_err());
        assert!(store.component_bytes(&Digest::of(b"two")).await.is_err());
        assert_eq!(store.component_bytes(&Digest::of(b"one")).await.unwrap(), b"one");
        assert!(matches!(remove(store, "reports", None).await, Err(StoreError::NotFound { .. })));
    }

    fn a_removed_version_number_is_not_given_again(store) {
        push(store, "reports", b"one").await;
        push(store, "reports", b"two").await;
        remove(store, "reports", Some(2)).await.unwrap();
        assert_eq!(push(store, "reports", b"tre").await.component.version, 3);
        assert!(matches!(remove(store, "reports", Some(2)).await, Err(StoreError::NotFound { .. })));
    }

    fn a_tenant_sees_no_other_tenants_components(store) {
        let other: TenantId = "other".parse().unwrap();
        push(store, "reports", b"one").await;
        assert!(store.component(&other, &name("reports"), Version::Newest).await.is_err());
        assert_eq!(store.components(&other, first_page(10)).await.unwrap().items, []);
        assert!(store.remove_component(&other, &name("reports"), None).await.is_err());
    }
}
