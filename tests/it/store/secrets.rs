//! Sealed secrets: bytes to a store.

use bellcage::job::SecretName;
use bellcage::store::{Secret, StoreError};

use super::*;

fn name(typed: &str) -> SecretName {
    typed.parse().unwrap()
}

fn secret(typed: &str, sealed: &[u8]) -> Secret {
    Secret { tenant: TenantId::default(), name: name(typed), sealed: sealed.to_vec(), updated_at: at(1) }
}

rules! {
    fn a_secret_put_again_is_the_new_one(store) {
        let tenant = TenantId::default();
        assert!(store.put_secret(secret("A", b"one"), 10).await.unwrap());
        assert!(store.put_secret(secret("A", b"two\0"), 10).await.unwrap());
        assert_eq!(store.secret(&tenant, &name("A")).await.unwrap(), secret("A", b"two\0"));
        assert!(matches!(store.secret(&tenant, &name("B")).await, Err(StoreError::NotFound { what }) if what == "secret \"B\""));
    }

    fn secrets_past_the_most_are_not_stored_and_those_that_exist_can_be_changed(store) {
        let tenant = TenantId::default();
        assert!(store.put_secret(secret("A", b"1"), 2).await.unwrap());
        assert!(store.put_secret(secret("B", b"1"), 2).await.unwrap());
        assert!(!store.put_secret(secret("C", b"1"), 2).await.unwrap());
        assert!(store.secret(&tenant, &name("C")).await.is_err());
        assert!(store.put_secret(secret("B", b"2"), 2).await.unwrap());
        let others = Secret { tenant: "other".parse().unwrap(), ..secret("C", b"1") };
        assert!(store.put_secret(others, 2).await.unwrap(), "each tenant has its own count");
        store.remove_secret(&tenant, &name("A")).await.unwrap();
        assert!(store.put_secret(secret("C", b"1"), 2).await.unwrap());
    }

    fn secrets_are_listed_by_name_a_page_at_a_time(store) {
        for typed in ["B", "_C", "A"] {
            store.put_secret(secret(typed, b"x"), 10).await.unwrap();
        }
        let tenant = TenantId::default();
        let page = store.secrets(&tenant, PageRequest { after: None, limit: 2 }).await.unwrap();
        assert_eq!(page.items.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["A", "B"]);
        let rest = store.secrets(&tenant, PageRequest { after: page.next, limit: 2 }).await.unwrap();
        assert_eq!((rest.items.len(), rest.items[0].name.as_str(), rest.next), (1, "_C", None));
    }

    fn a_removed_secret_is_gone(store) {
        let tenant = TenantId::default();
        store.put_secret(secret("A", b"x"), 10).await.unwrap();
        store.remove_secret(&tenant, &name("A")).await.unwrap();
        assert!(matches!(store.remove_secret(&tenant, &name("A")).await, Err(StoreError::NotFound { .. })));
    }

    fn tenants_are_listed_for_as_long_as_they_have_something(store) {
        let names = async |page| {
            let found: Page<TenantId> = store.tenants(page).await.unwrap();
            (found.items.iter().map(ToString::to_string).collect::<Vec<_>>(), found.next)
        };
        for tenant in ["b", "a", "gone"] {
            store.put_secret(Secret { tenant: tenant.parse().unwrap(), ..secret("A", b"x") }, 10).await.unwrap();
        }
        store.remove_secret(&"gone".parse().unwrap(), &name("A")).await.unwrap();
        store.add_job(job("j"), OnConflict::Error).await.unwrap();
        assert_eq!(names(PageRequest { after: None, limit: 2 }).await, (vec!["a".to_owned(), "b".to_owned()], Some("b".to_owned())));
        assert_eq!(names(PageRequest { after: Some("b".to_owned()), limit: 2 }).await, (vec!["default".to_owned()], None));
    }

    fn a_tenant_sees_no_other_tenants_secrets(store) {
        let other: TenantId = "other".parse().unwrap();
        store.put_secret(secret("A", b"x"), 10).await.unwrap();
        assert!(store.secret(&other, &name("A")).await.is_err());
        assert_eq!(store.secrets(&other, PageRequest { after: None, limit: 10 }).await.unwrap().items, []);
        assert!(store.remove_secret(&other, &name("A")).await.is_err());
    }
}
