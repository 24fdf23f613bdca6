//! `hilum check`: the configuration, and what the upstream is proved to do with two test patients.

use std::path::PathBuf;

use domain::TenantId;
use server::app::Checked;
use server::app::Extent;
use server::broker::{FilterVerdict, IfMatch, Page};
use server::settings::{Settings, SignIn};

use crate::cli::{Exit, Failure};
use crate::config;
use crate::output::{self, Format};

/// What `hilum check` was told.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:  hilum check --config gate/hilum.toml\n           hilum check --config gate/hilum.toml --tenant mercy --patient 4711 --patient 4712\n\nThe gate narrows a search only by what is proved or declared; a filter found ignored stays refused until proved here."
)]
pub struct Check {
    /// Configuration file
    #[arg(long, short = 'c', value_name = "FILE")]
    pub config: PathBuf,
    /// A test patient's id at the upstream; give two, with different records
    #[arg(long = "patient", num_args = 1, value_name = "ID")]
    pub patients: Vec<String>,
    /// Prove, but do not write down what was proved
    #[arg(long)]
    pub dry_run: bool,
    /// Also try `If-Match`: an update of the first test patient, unchanged, naming a version it never had
    #[arg(long)]
    pub if_match: bool,
}

/// Checks the file; with two patients also the upstream.
pub async fn run(check: Check, tenant: Option<&str>, format: Format) -> Result<Exit, Failure> {
    let config = config::read(&check.config).map_err(|why| Failure::configuration(why.to_string()))?;
    super::serve::root_key(&config.root_key)?;
    let settings = &config.settings;
    output::note(&format!("{}: no mistakes; {} tenant(s)", check.config.display(), settings.tenants.len()));
    if settings.outbound.allow_private.is_empty() {
        output::note("no host may resolve to a private address");
    } else {
        let hosts: Vec<&str> = settings.outbound.allow_private.iter().map(String::as_str).collect();
        output::note(&format!("may resolve to private addresses: {}", hosts.join(", ")));
    }
    let signs_in = identities(settings, tenant).await;
    let [first, second] = check.patients.as_slice() else {
        if check.patients.is_empty() {
            output::note("to prove what the upstream filters by, name two test patients: --patient ID --patient ID");
            return Ok(signs_in);
        }
        return Err(Failure::usage("name exactly two test patients: --patient ID --patient ID"));
    };
    let id = |text: &str| text.parse::<fhir::Id>().map_err(|_| Failure::usage(format!("`{text}` is not a FHIR id")));
    let (first, second) = (id(first)?, id(second)?);
    if first == second {
        return Err(Failure::usage("name two different test patients: one alone proves nothing"));
    }
    let tenant = match (tenant, settings.tenants.as_slice()) {
        (Some(name), tenants) => tenants
            .iter()
            .find(|tenant| tenant.id.as_str() == name)
            .ok_or_else(|| Failure::usage(format!("the configuration has no tenant `{name}`")))?,
        (None, [only]) => only,
        (None, _) => return Err(Failure::usage("say which tenant: --tenant ID")),
    };
    let extent = Extent { dry: check.dry_run, if_match: check.if_match };
    let upstream = proved(&config, &tenant.id, &first, &second, extent, format).await?;
    Ok(if signs_in == Exit::Done { upstream } else { signs_in })
}

/// Asks every identity provider of the file (or of one tenant) for its discovery document, and says what will not work.
async fn identities(settings: &Settings, tenant: Option<&str>) -> Exit {
    let mut all_fit = true;
    let admin = settings.admin_identity.iter().map(|identity| ("administration", identity));
    let tenants = settings.tenants.iter().filter(|found| tenant.is_none_or(|name| name == found.id.as_str()));
    let tenants = tenants.filter_map(|found| match &found.people.sign_in {
        SignIn::Oidc(identity) => Some((found.id.as_str(), identity.as_ref())),
        SignIn::Nowhere | SignIn::Demo(_) => None,
    });
    for (whose, identity) in admin.chain(tenants) {
        let who = format!("{whose}: people sign in at {}", identity.issuer);
        match server::app::check_identity(&settings.outbound, identity).await {
            Ok(problems) if problems.is_empty() => output::note(&format!("{who}, which answers and fits")),
            Ok(problems) => {
                all_fit = false;
                let says: Vec<String> = problems.iter().map(ToString::to_string).collect();
                output::note(&format!("{who}, which does NOT fit: {}", says.join("; ")));
            }
            Err(why) => {
                all_fit = false;
                output::note(&format!("{who}, where it does NOT work: {why}"));
            }
        }
    }
    if all_fit { Exit::Done } else { Exit::Failed }
}

async fn proved(
    config: &config::Config,
    tenant: &TenantId,
    first: &fhir::Id,
    second: &fhir::Id,
    extent: Extent,
    format: Format,
) -> Result<Exit, Failure> {
    let progress = indicatif::ProgressBar::new_spinner().with_message("asking the upstream");
    progress.enable_steady_tick(std::time::Duration::from_millis(120));
    let report = server::app::check(&config.settings, tenant, first, second, extent).await;
    progress.finish_and_clear();
    let report = report.map_err(|why| Failure::failed(why.to_string()))?;
    match format {
        Format::Json => {
            let value = serde_json::to_value(&report).map_err(|why| Failure::failed(why.to_string()))?;
            output::object(format, &value);
        }
        Format::Table => told(&report),
    }
    if !report.report.patients_readable {
        return Err(Failure::failed(
            "the upstream did not give both test patients; nothing counts as proved. Are the ids right, and may Hilum read them?",
        ));
    }
    if report.refused > 0 {
        output::note("the upstream ignores a filter: searches of those types are refused until it is proved to filter");
    } else if !extent.dry {
        output::note("written down; a running gate takes it up at once");
    }
    Ok(if report.clean() { Exit::Done } else { Exit::Failed })
}

/// The findings for people: types by what came of them.
fn told(checked: &Checked) {
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    let report = &checked.report;
    let of = |verdict: FilterVerdict| {
        let found = report.filters.iter().filter(|proof| proof.verdict == verdict);
        let names: Vec<String> = found.map(|proof| format!("{}?{}", proof.kind, proof.param)).collect();
        (names.len(), names.join(", "))
    };
    let mut lines = vec![
        ("patients readable".to_owned(), yes(report.patients_readable)),
        ("ETag on reads".to_owned(), yes(report.etag)),
        ("version ids".to_owned(), yes(report.version_id)),
        (
            "If-Match".to_owned(),
            match report.if_match {
                IfMatch::NotTried => "not tried: it takes an update of a test patient (see --help)",
                IfMatch::Honoured => "honoured",
                IfMatch::Ignored => "IGNORED: an update of an old version was taken",
                IfMatch::NoUpdates => "no updates are taken",
            }
            .to_owned(),
        ),
        (
            "next links".to_owned(),
            match report.next_links {
                Page::None => "none were needed",
                Page::WithinBase => "below the FHIR base",
                Page::Elsewhere => "lead elsewhere: results end at the first page",
            }
            .to_owned(),
        ),
    ];
    for (verdict, says) in [
        (FilterVerdict::Filters, "filters"),
        (FilterVerdict::Ignores, "IGNORES"),
        (FilterVerdict::Unsupported, "not offered"),
        (FilterVerdict::Failed, "failed"),
    ] {
        let (count, names) = of(verdict);
        if count > 0 {
            lines.push((format!("{says} ({count})"), names));
        }
    }
    let (count, _) = of(FilterVerdict::Vacuous);
    if count > 0 {
        let says = "types of which neither test patient has a resource; `-o json` names them";
        lines.push((format!("nothing to prove ({count})"), says.to_owned()));
    }
    output::fields(lines);
}
