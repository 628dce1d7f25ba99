//! Verbs on exclusion calendars.

use crate::job::{CalendarName, TenantId};
use crate::trigger::Exclusions;

use super::{Calendar, Page, PageRequest, Scheduler, SchedulerError};

impl Scheduler {
    /// Adds a calendar, or puts it in the place of the one of its name: from now on, for every job that refers to it.
    pub async fn put_calendar(&self, tenant: &TenantId, name: &CalendarName, exclusions: Exclusions) -> Result<Calendar, SchedulerError> {
        exclusions.compile()?;
        let calendar = Calendar { tenant: tenant.clone(), name: name.clone(), exclusions, updated_at: self.inner.clock.now() };
        self.inner.store.put_calendar(calendar.clone()).await?;
        Ok(calendar)
    }

    pub async fn calendar(&self, tenant: &TenantId, name: &CalendarName) -> Result<Calendar, SchedulerError> {
        Ok(self.inner.store.calendar(tenant, name).await?)
    }

    pub async fn calendars(&self, tenant: &TenantId, page: PageRequest) -> Result<Page<Calendar>, SchedulerError> {
        Ok(self.inner.store.calendars(tenant, page).await?)
    }

    /// Removes a calendar; refused while jobs refer to it.
    pub async fn remove_calendar(&self, tenant: &TenantId, name: &CalendarName) -> Result<(), SchedulerError> {
        Ok(self.inner.store.remove_calendar(tenant, name).await?)
    }
}
