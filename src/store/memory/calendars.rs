//! Exclusion calendars.

use super::State;
use crate::job::{CalendarName, JobKey, TenantId};
use crate::store::{Calendar, Page, PageRequest, StoreError, apply};

impl State {
    pub(super) fn calendar(&self, tenant: &TenantId, name: &CalendarName) -> Result<Calendar, StoreError> {
        self.calendars.get(&(tenant.clone(), name.clone())).cloned().ok_or_else(|| apply::no_calendar(name))
    }

    pub(super) fn calendars(&self, tenant: &TenantId, page: &PageRequest) -> Result<Page<Calendar>, StoreError> {
        let after = page.after::<CalendarName>()?;
        let limit = page.limit();
        let of_tenant = self.calendars.values().filter(|c| c.tenant == *tenant && after.as_ref().is_none_or(|after| c.name > *after));
        Ok(Page::cut(of_tenant.take(limit + 1).cloned().collect(), limit, |c| c.name.to_string()))
    }

    pub(super) fn remove_calendar(&mut self, tenant: &TenantId, name: &CalendarName) -> Result<(), StoreError> {
        let using = self.jobs.values().map(|stored| &stored.job).filter(|job| job.key.tenant == *tenant && job.spec.calendars.contains(name));
        let jobs: Vec<JobKey> = using.take(PageRequest::LIMIT_MAX).map(|job| job.key.clone()).collect();
        if !jobs.is_empty() {
            return Err(StoreError::CalendarInUse { name: name.to_string(), jobs });
        }
        self.calendars.remove(&(tenant.clone(), name.clone())).map(|_| ()).ok_or_else(|| apply::no_calendar(name))
    }
}
