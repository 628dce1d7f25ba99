//! Write a typed bellcage job in ten lines.
//!
//! ```ignore
//! use bellcage_job::{job, Context, Failure};
//!
//! #[derive(serde::Deserialize)]
//! struct Input { numbers: Vec<f64> }
//!
//! fn mean(input: Input, context: &Context) -> Result<f64, Failure> {
//!     context.info(format!("{} numbers", input.numbers.len()));
//!     if input.numbers.is_empty() {
//!         return Err(Failure::permanent("no numbers"));
//!     }
//!     Ok(input.numbers.iter().sum::<f64>() / input.numbers.len() as f64)
//! }
//!
//! job!(mean);
//! ```
//!
//! The crate is a `cdylib`, built with `cargo build --release --target wasm32-wasip2`. Input and result are what serde makes of
//! the job's `args` and of the run's JSON. `?` works on every error: it fails the attempt, and the job's retry policy decides.
mod context;
mod failure;

pub use context::{Context, Level, SaveError};
pub use failure::{Failure, Retry};

/// The bindings of the `bellcage:job` package, for what this crate does not wrap.
pub mod bindings {
    wit_bindgen::generate!({
        world: "job",
        path: "wit",
        pub_export_macro: true,
        export_macro_name: "export_entry",
        default_bindings_module: "bellcage_job::bindings",
    });
}

/// Makes a function the component's entry: `job!(my_function);`, once in the crate.
///
/// The function takes its input (anything that serde can deserialise; `serde_json::Value` for any) and a [`Context`], and
/// returns a `Result` of anything that serde can serialise and a [`Failure`].
#[macro_export]
macro_rules! job {
    ($function:path) => {
        struct BellcageJob;

        impl $crate::bindings::exports::bellcage::job::entry::Guest for BellcageJob {
            fn run(
                context: $crate::bindings::bellcage::job::types::Context,
                input: ::std::string::String,
            ) -> ::std::result::Result<::std::string::String, $crate::bindings::bellcage::job::types::Failure> {
                $crate::call($function, context, &input)
            }
        }

        $crate::bindings::export_entry!(BellcageJob);
    };
}

/// Reads the input, calls the function, writes its result. What `job!` calls.
#[doc(hidden)]
pub fn call<Input, Output>(
    function: impl FnOnce(Input, &Context) -> Result<Output, Failure>,
    context: bindings::bellcage::job::types::Context,
    input: &str,
) -> Result<String, bindings::bellcage::job::types::Failure>
where
    Input: serde::de::DeserializeOwned,
    Output: serde::Serialize,
{
    let answer = serde_json::from_str(input)
        .map_err(|error| Failure::permanent(format!("the job's args do not fit: {error}")))
        .and_then(|input| function(input, &Context::new(context)))
        .and_then(|output| serde_json::to_string(&output).map_err(|error| Failure::permanent(format!("the result is not JSON: {error}"))));
    answer.map_err(Failure::into_wit)
}
