//! `mailgauge aggregate --by-link`: clicks by tenant, campaign and link, in the formats of the other rows.

use std::io::{self, BufWriter, Write as _};

use cells::Accumulator;
use cells::query::{LinkTotal, LinkTotals};
use serde_json::{Map, Value};

use super::write_json;
use crate::output::{self, Format, RowProducer};

/// Prints the clicks by link: of each tenant and campaign the links that were followed most, as the API does.
pub(super) fn print(cells: &Accumulator, format: Format) -> io::Result<()> {
    const COLUMNS: [&str; 5] = ["tenant", "campaign", "link", "clicks", "clicks_bot"];
    let mut totals = LinkTotals::default();
    for (tenant, row) in cells.links() {
        // Files may hold more than a server sums at once.
        totals.add(tenant, &row).map_err(io::Error::other)?;
    }
    let found = totals.finish();
    let rows: RowProducer<'_> = &|each| {
        for LinkTotal { tenant, campaign, link, clicks, clicks_bot } in &found {
            let names = [tenant, campaign, link].map(|name| Value::from(name.as_str()));
            let [tenant, campaign, link] = names;
            each(&[tenant, campaign, link, (*clicks).into(), (*clicks_bot).into()])?;
        }
        Ok(())
    };
    let columns = COLUMNS.map(str::to_owned);
    let mut out = BufWriter::new(io::stdout().lock());
    match format {
        Format::Json => write_json(&columns, 3, &|each| rows(&mut |row| each(row, &Map::new())), &mut out)?,
        Format::Csv => output::write_csv(&columns, rows, &mut out)?,
        Format::Table => output::write_table(&columns, rows, &mut out)?,
    }
    out.flush()
}
