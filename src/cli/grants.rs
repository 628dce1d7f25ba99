//! `--grant`: what a guest is given beyond its sandbox, shared by `run` and `job add`.

use clap::Args;

use crate::job::{Grants, OriginError};

use super::error::{CliError, Result};
use super::limits::pairs;

#[derive(Args, Default)]
pub struct GrantFlags {
    /// What the guest may reach: kv (a key-value namespace of the job's own), http=ORIGIN (requests
    /// to https://api.example.com, https://*.example.com)
    #[arg(long, value_name = "GRANT")]
    grant: Vec<String>,
    /// An environment variable; the guest sees no other
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
}

impl GrantFlags {
    pub fn grants(&self) -> Result<Grants> {
        let mut grants = Grants { env: pairs("--env", &self.env)?, ..Grants::default() };
        for typed in &self.grant {
            match typed.split_once('=') {
                None if typed == "kv" => grants.kv = true,
                Some(("kv", size)) => {
                    let message = format!("--grant {typed:?} is no grant: how much a namespace holds is a limit");
                    return Err(CliError::usage(message).hint(format!("write --grant kv --kv-bytes {size}")));
                }
                Some(("http", origin)) => grants.http.push(origin.parse()?),
                _ => return Err(CliError::usage(format!("--grant {typed:?} is no grant")).hint("use kv, or http=ORIGIN")),
            }
        }
        Ok(grants)
    }
}

impl From<OriginError> for CliError {
    fn from(e: OriginError) -> Self {
        Self::usage(format!("--grant http: {e}")).hint("write it as https://api.example.com, http://127.0.0.1:8080 or https://*.example.com")
    }
}
