//! Exclusion calendars.

use bellcage::job::CalendarName;
use bellcage::store::{Calendar, StoreError};
use bellcage::trigger::Exclusions;
use serde_json::json;

use super::*;

fn name(typed: &str) -> CalendarName {
    typed.parse().unwrap()
}

fn calendar(typed: &str, date: &str) -> Calendar {
    let exclusions: Exclusions = serde_json::from_value(json!({ "exclude": [{ "date": date }] })).unwrap();
    Calendar { tenant: TenantId::default(), name: name(typed), exclusions, updated_at: at(1) }
}

rules! {
    fn a_calendar_put_again_is_the_new_one(store) {
        let tenant = TenantId::default();
        store.put_calendar(calendar("holidays", "2026-12-24")).await.unwrap();
        store.put_calendar(calendar("holidays", "2026-12-25")).await.unwrap();
        assert_eq!(store.calendar(&tenant, &name("holidays")).await.unwrap(), calendar("holidays", "2026-12-25"));
        assert!(matches!(store.calendar(&tenant, &name("nights")).await, Err(StoreError::NotFound { what }) if what == "calendar \"nights\""));
    }

    fn calendars_are_listed_by_name_a_page_at_a_time(store) {
        for typed in ["b", "c", "a"] {
            store.put_calendar(calendar(typed, "2026-12-24")).await.unwrap();
        }
        let tenant = TenantId::default();
        let page = store.calendars(&tenant, PageRequest { after: None, limit: 2 }).await.unwrap();
        assert_eq!(page.items.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let rest = store.calendars(&tenant, PageRequest { after: page.next, limit: 2 }).await.unwrap();
        assert_eq!((rest.items.len(), rest.items[0].name.as_str(), rest.next), (1, "c", None));
    }

    fn a_calendar_is_in_use_while_jobs_refer_to_it(store) {
        let tenant = TenantId::default();
        store.put_calendar(calendar("holidays", "2026-12-24")).await.unwrap();
        add(store, job_with("a", |spec| spec.calendars = vec![name("holidays")])).await;
        match store.remove_calendar(&tenant, &name("holidays")).await {
            Err(StoreError::CalendarInUse { name, jobs }) => assert_eq!((name.as_str(), jobs), ("holidays", vec![key("a")])),
            other => panic!("{other:?}"),
        }
        let job = store.job(&key("a")).await.unwrap();
        let mut changed = job.clone();
        std::sync::Arc::make_mut(&mut changed.spec).calendars.clear();
        store.update_job(changed, &job, None).await.unwrap();
        store.remove_calendar(&tenant, &name("holidays")).await.unwrap();
        assert!(matches!(store.remove_calendar(&tenant, &name("holidays")).await, Err(StoreError::NotFound { .. })));
    }

    fn a_removed_job_needs_no_calendar(store) {
        let tenant = TenantId::default();
        store.put_calendar(calendar("holidays", "2026-12-24")).await.unwrap();
        add(store, job_with("a", |spec| spec.calendars = vec![name("holidays")])).await;
        store.remove_job(&key("a"), at(2)).await.unwrap();
        store.remove_calendar(&tenant, &name("holidays")).await.unwrap();
    }

    fn a_tenant_sees_no_other_tenants_calendars(store) {
        let other: TenantId = "other".parse().unwrap();
        store.put_calendar(calendar("holidays", "2026-12-24")).await.unwrap();
        assert!(store.calendar(&other, &name("holidays")).await.is_err());
        assert_eq!(store.calendars(&other, PageRequest { after: None, limit: 10 }).await.unwrap().items, []);
        assert!(store.remove_calendar(&other, &name("holidays")).await.is_err());
    }
}
