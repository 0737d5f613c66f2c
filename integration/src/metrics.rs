//! A scrape of `/metrics`, in the Prometheus text format.

use std::net::SocketAddr;

use crate::http;

/// Samples by name and labels.
#[derive(Debug, Default, Clone)]
pub struct Metrics(String);

impl Metrics {
    /// None where nobody answers (the program may just have been killed).
    #[must_use]
    pub fn scrape(address: SocketAddr) -> Option<Self> {
        let response = http::get(address, "/metrics").ok()?;
        (response.status == 200).then(|| Self(String::from_utf8_lossy(&response.body).into_owned()))
    }

    /// A scrape that was made in another way.
    #[must_use]
    pub fn of(text: String) -> Self {
        Self(text)
    }

    /// The sum of a metric over all its label sets that contain `label`, which may be empty; None when there is no such.
    #[must_use]
    pub fn sum(&self, name: &str, label: &str) -> Option<f64> {
        let mut samples = self.0.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let labels = series.strip_prefix(name)?;
            let named = labels.is_empty() || labels.starts_with('{');
            (named && labels.contains(label)).then(|| value.parse::<f64>().ok())?
        });
        let first = samples.next()?;
        Some(samples.fold(first, |sum, value| sum + value))
    }

    /// The same as a count; panics when the program has no such metric.
    #[must_use]
    pub fn count(&self, name: &str, label: &str) -> u64 {
        let sum = self.sum(name, label);
        sum.unwrap_or_else(|| panic!("no metric {name} with {label:?} in:\n{}", self.0)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_by_name_and_label() {
        let text = "# TYPE a_total counter\n\
                    a_total{outcome=\"indexed\"} 2\n\
                    a_total{outcome=\"duplicate\",x=\"1\"} 3\n\
                    a_total{outcome=\"duplicate\",x=\"2\"} 4\n\
                    a_total_more 9\nb 1.5\n# EOF\n";
        let metrics = Metrics(text.into());
        assert_eq!(metrics.sum("a_total", ""), Some(9.0));
        assert_eq!(metrics.count("a_total", "outcome=\"duplicate\""), 7);
        assert_eq!(metrics.sum("b", ""), Some(1.5));
        assert_eq!(metrics.sum("c", ""), None);
        assert_eq!(metrics.sum("a_total", "outcome=\"lost\""), None);
    }
}
