//! stub
pub(crate) fn run(_a: &crate::cli::DemoArgs) -> Result<(), crate::cli::report::Failure> {
    Ok(())
}
