//! `MetricSink`: where numbers go while something long runs.

use std::io;

/// One number and its name, such as `losses/mse_loss`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metric<'a> {
    /// The name; SAELens' where there is one.
    pub name: &'a str,
    /// The value.
    pub value: f64,
}

/// Takes metrics as they come.
pub trait MetricSink: Send {
    /// Take the metrics of one step.
    ///
    /// # Errors
    /// They cannot be written.
    fn log(&mut self, step: u64, metrics: &[Metric<'_>]) -> io::Result<()>;
}

/// Keeps everything in memory.
impl MetricSink for Vec<(u64, String, f64)> {
    fn log(&mut self, step: u64, metrics: &[Metric<'_>]) -> io::Result<()> {
        self.extend(metrics.iter().map(|m| (step, m.name.to_owned(), m.value)));
        Ok(())
    }
}

/// Writes one JSON object per step and line.
pub struct JsonLines<W>(pub W);

impl<W: io::Write + Send> MetricSink for JsonLines<W> {
    fn log(&mut self, step: u64, metrics: &[Metric<'_>]) -> io::Result<()> {
        let mut object = serde_json::Map::new();
        object.insert("step".to_owned(), step.into());
        for metric in metrics {
            object.insert(metric.name.to_owned(), metric.value.into());
        }
        serde_json::to_writer(&mut self.0, &object)?;
        self.0.write_all(b"\n")
    }
}
