//! What a job's grants let its attempts reach, on this server.

use jiff::Timestamp;

use super::Options;
use crate::executor::{Network, Reach, Space};
use crate::job::{GrantError, Grants, JobKey};

impl Options {
    /// `since`: when the job was added.
    pub(super) fn reach(&self, job: &JobKey, since: Timestamp, grants: &Grants) -> Result<Reach, GrantError> {
        let quota = grants.kv.map(|grant| grant.quota(self.kv_quota, self.kv_quota_cap)).transpose()?;
        let network = || Network { origins: grants.http.clone(), body_max: self.http_body, at_once: self.http_per_attempt };
        Ok(Reach { kv: quota.map(|quota| Space { job: job.clone(), since, quota }), http: (!grants.http.is_empty()).then(network) })
    }
}
