use bellcage_job::{job, Context, Failure};

#[derive(serde::Deserialize)]
struct Input {
    name: String,
}

#[derive(serde::Serialize)]
struct Output {
    greeting: String,
}

fn greet(input: Input, context: &Context) -> Result<Output, Failure> {
    context.info(format!("run {}, attempt {}", context.run(), context.attempt()));
    if input.name.is_empty() {
        return Err(Failure::permanent("there is nobody to greet"));
    }
    Ok(Output { greeting: format!("hello {}", input.name) })
}

job!(greet);
