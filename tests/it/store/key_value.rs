//! Key-value namespaces.

use bellcage::store::{KEYS_LISTED_MAX, KvBounds, KvOwner, KvRefused, KvUsage, StoreError};

use super::*;

const BOUNDS: KvBounds = KvBounds { bytes: 100, keys: 3 };
const WIDE: KvBounds = KvBounds { bytes: 1 << 20, keys: 10_000 };

/// The namespace of such a job as `job` makes.
fn of(id: &str) -> KvOwner {
    KvOwner { job: key(id), since: at(-100) }
}

/// Why nothing was written.
fn refused<T: std::fmt::Debug>(written: Result<T, StoreError>) -> KvRefused {
    match written {
        Err(StoreError::KeyValue(refused)) => refused,
        other => panic!("{other:?}"),
    }
}

rules! {
    fn what_is_set_is_read_and_another_job_does_not_see_it(store) {
        for id in ["a", "b"] {
            add(store, job(id)).await;
        }
        store.kv_set(&of("a"), "k", b"1".to_vec(), BOUNDS).await.unwrap();
        store.kv_set(&of("a"), "k", b"22".to_vec(), BOUNDS).await.unwrap();
        assert_eq!(store.kv_get(&of("a"), "k").await.unwrap().as_deref(), Some(&b"22"[..]));
        assert_eq!(store.kv_get(&of("b"), "k").await.unwrap(), None);
        assert_eq!(store.kv_list(&of("b"), None).await.unwrap().keys, Vec::<String>::new());
        assert_eq!(store.kv_usage(&of("a")).await.unwrap(), KvUsage { bytes: 3, keys: 1 });
    }

    fn a_key_can_be_deleted_once(store) {
        add(store, job("a")).await;
        store.kv_set(&of("a"), "k", b"1".to_vec(), BOUNDS).await.unwrap();
        assert!(store.kv_delete(&of("a"), "k").await.unwrap());
        assert!(!store.kv_delete(&of("a"), "k").await.unwrap());
        assert_eq!(store.kv_usage(&of("a")).await.unwrap(), KvUsage::default());
    }

    fn a_quota_counts_keys_and_values_and_what_is_replaced_counts_no_more(store) {
        add(store, job("a")).await;
        store.kv_set(&of("a"), "key", vec![0; 97], BOUNDS).await.unwrap();
        assert_eq!(refused(store.kv_set(&of("a"), "x", Vec::new(), BOUNDS).await), KvRefused::Quota { needed: 101, quota: 100 });
        assert_eq!(refused(store.kv_set(&of("a"), "key", vec![0; 98], BOUNDS).await), KvRefused::Quota { needed: 101, quota: 100 });
        store.kv_set(&of("a"), "key", vec![0; 96], BOUNDS).await.unwrap();
        store.kv_set(&of("a"), "x", Vec::new(), BOUNDS).await.unwrap();
        assert_eq!(store.kv_usage(&of("a")).await.unwrap(), KvUsage { bytes: 100, keys: 2 });
    }

    fn with_a_lower_quota_a_value_may_still_shrink(store) {
        add(store, job("a")).await;
        store.kv_set(&of("a"), "k", vec![0; 50], BOUNDS).await.unwrap();
        let lower = KvBounds { bytes: 10, ..BOUNDS };
        assert_eq!(refused(store.kv_set(&of("a"), "k", vec![1; 51], lower).await), KvRefused::Quota { needed: 52, quota: 10 });
        store.kv_set(&of("a"), "k", vec![1; 49], lower).await.unwrap();
    }

    fn keys_are_counted_and_have_a_length(store) {
        add(store, job("a")).await;
        for n in ["1", "2", "3"] {
            store.kv_set(&of("a"), n, Vec::new(), BOUNDS).await.unwrap();
        }
        assert_eq!(refused(store.kv_set(&of("a"), "4", Vec::new(), BOUNDS).await), KvRefused::Keys { max: 3 });
        store.kv_set(&of("a"), "3", b"again".to_vec(), BOUNDS).await.unwrap();
        assert_eq!(refused(store.kv_set(&of("a"), "", Vec::new(), WIDE).await), KvRefused::Key { bytes: 0 });
        assert_eq!(refused(store.kv_set(&of("a"), &"k".repeat(257), Vec::new(), WIDE).await), KvRefused::Key { bytes: 257 });
        store.kv_set(&of("a"), &"k".repeat(256), Vec::new(), WIDE).await.unwrap();
    }

    fn numbers_are_added_to(store) {
        add(store, job("a")).await;
        assert_eq!(store.kv_add(&of("a"), "n", 5, BOUNDS).await.unwrap(), 5);
        assert_eq!(store.kv_add(&of("a"), "n", 37, BOUNDS).await.unwrap(), 42);
        assert_eq!(store.kv_get(&of("a"), "n").await.unwrap().as_deref(), Some(&b"42"[..]));
        assert_eq!(refused(store.kv_add(&of("a"), "n", u64::MAX, BOUNDS).await), KvRefused::NotANumber { key: "n".to_owned() });
        for text in ["many", "+5", "-5", ""] {
            store.kv_set(&of("a"), "text", text.into(), BOUNDS).await.unwrap();
            assert_eq!(refused(store.kv_add(&of("a"), "text", 1, BOUNDS).await), KvRefused::NotANumber { key: "text".to_owned() }, "{text:?}");
        }
    }

    fn keys_are_listed_in_the_order_in_which_they_were_set_and_once_each(store) {
        add(store, job("a")).await;
        for n in 0..=KEYS_LISTED_MAX {
            store.kv_set(&of("a"), &format!("k{n}"), Vec::new(), WIDE).await.unwrap();
        }
        let first = store.kv_list(&of("a"), None).await.unwrap();
        assert_eq!((first.keys.len(), first.keys[0].as_str()), (KEYS_LISTED_MAX, "k0"));
        store.kv_set(&of("a"), "k0", b"new".to_vec(), WIDE).await.unwrap();
        store.kv_delete(&of("a"), "k1").await.unwrap();
        let rest = store.kv_list(&of("a"), first.next).await.unwrap();
        assert_eq!((rest.keys, rest.next), (vec![format!("k{KEYS_LISTED_MAX}")], None));
    }

    fn a_removed_jobs_namespace_is_gone_and_the_next_job_of_that_name_begins_with_none(store) {
        add(store, job("a")).await;
        store.kv_set(&of("a"), "k", b"1".to_vec(), BOUNDS).await.unwrap();
        store.remove_job(&key("a"), at(1)).await.unwrap();
        assert_eq!(store.kv_get(&of("a"), "k").await.unwrap(), None);
        assert!(matches!(store.kv_set(&of("a"), "k", Vec::new(), BOUNDS).await, Err(StoreError::NotFound { .. })));
        assert!(!store.kv_delete(&of("a"), "k").await.unwrap());
        add(store, job("a")).await;
        assert_eq!((store.kv_get(&of("a"), "k").await.unwrap(), store.kv_usage(&of("a")).await.unwrap()), (None, KvUsage::default()));
    }

    fn what_a_removed_job_left_running_reaches_nothing_of_the_next_job_of_that_name(store) {
        add(store, job("a")).await;
        store.remove_job(&key("a"), at(1)).await.unwrap();
        add(store, Job { created_at: at(2), ..job("a") }).await;
        let (former, next) = (of("a"), KvOwner { since: at(2), ..of("a") });
        store.kv_set(&next, "k", b"1".to_vec(), BOUNDS).await.unwrap();
        assert!(matches!(store.kv_set(&former, "k", Vec::new(), BOUNDS).await, Err(StoreError::NotFound { .. })));
        assert!(matches!(store.kv_add(&former, "k", 1, BOUNDS).await, Err(StoreError::NotFound { .. })));
        assert!(!store.kv_delete(&former, "k").await.unwrap());
        assert_eq!((store.kv_get(&former, "k").await.unwrap(), store.kv_list(&former, None).await.unwrap().keys), (None, Vec::<String>::new()));
        assert_eq!(store.kv_get(&next, "k").await.unwrap().as_deref(), Some(&b"1"[..]));
    }

    fn a_replaced_job_keeps_its_namespace(store) {
        add(store, job("a")).await;
        store.kv_set(&of("a"), "k", b"1".to_vec(), BOUNDS).await.unwrap();
        store.add_job(job_with("a", |spec| spec.priority = 5), OnConflict::Replace).await.unwrap();
        assert_eq!(store.kv_get(&of("a"), "k").await.unwrap().as_deref(), Some(&b"1"[..]));
    }
}
