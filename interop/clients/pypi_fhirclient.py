"""PyPI `fhirclient` (SMART): finds the token endpoint in /metadata, signs in there itself, then reads and writes models."""

from checks import BASE, FOREIGN, OTHER, PATIENT, SETUP, bundle, check, equal, mine, names, observation, refused, statuses, upstream
from fhirclient import client as smart
from fhirclient import server as servers
from fhirclient.models.bundle import Bundle
from fhirclient.models.condition import Condition
from fhirclient.models.encounter import Encounter
from fhirclient.models.fhirsearch import FHIRSearch
from fhirclient.models.observation import Observation
from fhirclient.models.patient import Patient

# Settings as the library's documentation has them; the client assertion is the integration's own.
app = smart.FHIRClient(settings={
    "app_id": SETUP["client_id"], "api_base": BASE, "patient_id": PATIENT, "scope": SETUP["scope"], "jwt_token": SETUP["assertion"]})


@check("metadata", "prepare() reads /metadata and is not ready without a token")
def _():
    equal(app.prepare(), False)
    statement = app.server.capabilityStatement
    equal((statement.fhirVersion, statement.kind, statement.implementation.url), ("4.0.1", "instance", BASE))
    equal(statement.date.as_json(), SETUP["date"])


@check("metadata", "the token endpoint is that of oauth-uris")
def _():
    equal((app.server.auth.auth_type, app.server.auth.state["token_uri"]), ("oauth2", SETUP["token_url"]))


# The library asks with `client_credentials` and a signed assertion; the launch ticket is the one parameter it does not know.
app.prepare()
answer = app.server.post_as_form(app.server.auth.state["token_uri"], {**app.server.auth._token_params(app.server), "launch": SETUP["launch"]}).json()
app = smart.FHIRClient(state={**app.state, "server": {**app.server.state, "auth": {**app.server.auth.state, "access_token": answer["access_token"]}}})
server = app.server


@check("metadata", "a token from that endpoint makes the client ready")
def _():
    equal((app.ready, app.prepare(), answer["patient"]), (True, True, PATIENT))


@check("read", "the client's patient, and a read of a model")
def _():
    held = upstream(f"Patient/{PATIENT}")
    equal(app.human_name(app.patient.name[0]), " ".join([*held["name"][0]["given"], held["name"][0]["family"]]))
    name = mine("Condition")[0].split("/")[1]
    equal(Condition.read(name, server).as_json()["code"], upstream(f"Condition/{name}")["code"])


def found(search):
    return names(one.as_json() for one in search.perform_resources_iter(server) if one.resource_type != "OperationOutcome")


@check("search", "where().perform_resources_iter()")
def _():
    equal(found(Encounter.where({"patient": PATIENT})), mine("Encounter"))
    equal(found(Observation.where({"code": "http://loinc.org|8867-4", "date": "ge2020"})), mine("Observation?code=http://loinc.org|8867-4&date=ge2020"))


@check("paging", "perform_iter() to the end")
def _():
    pages = list(Observation.where({"_count": "7"}).perform_iter(server))
    equal(names(entry.resource.as_json() for page in pages for entry in page.entry), mine("Observation"))
    if len(pages) < 3:
        raise AssertionError(f"{len(pages)} pages")


@check("includes", "include of the subject, reverse include")
def _():
    equal(found(FHIRSearch(Encounter, {}).include("subject")), sorted([*mine("Encounter"), f"Patient/{PATIENT}"]))
    equal(found(FHIRSearch(Patient, {"_id": PATIENT}).include("subject", Condition)), sorted([*mine("Condition"), f"Patient/{PATIENT}"]))


@check("refusals", "another patient is FHIRPermissionDeniedException")
def _():
    refused(servers.FHIRPermissionDeniedException, Patient.read, OTHER, server)
    refused(servers.FHIRPermissionDeniedException, lambda: found(Observation.where({"patient": OTHER})))


@check("refusals", "another patient's resource and an absent one are the same FHIRNotFoundException")
def _():
    said = [refused(servers.FHIRNotFoundException, Observation.read, name, server).response.text.replace(name, "{id}")
            for name in (FOREIGN, "no-such-observation")]
    equal(said[0], said[1])


@check("refusals", "without a token every read is FHIRUnauthorizedException")
def _():
    refused(servers.FHIRUnauthorizedException, Patient.read, PATIENT, smart.FHIRClient(settings={"app_id": "x", "api_base": BASE}).server)


@check("write", "create, update, delete")
def _():
    made = Observation(Observation(observation()).create(server))
    equal(upstream(f"Observation/{made.id}")["subject"]["reference"], f"Patient/{PATIENT}")
    made.status = "final"
    made.update(server)
    equal(upstream(f"Observation/{made.id}")["status"], "final")
    made.delete(server)
    equal(upstream(f"Observation/{made.id}"), None)


@check("write", "writes on another patient are refused")
def _():
    before = upstream(f"Observation/{FOREIGN}")
    refused(servers.FHIRPermissionDeniedException, Observation(observation(OTHER)).create, server)
    refused(servers.FHIRNotFoundException, Observation({**observation(), "id": FOREIGN}).update, server)
    refused(servers.FHIRNotFoundException, Observation({**observation(), "id": FOREIGN}).delete, server)
    equal(upstream(f"Observation/{FOREIGN}"), before)


@check("batch", "a Bundle of type batch, created")
def _():
    asked = bundle("batch", ("GET", f"Patient/{PATIENT}"), ("POST", "Observation", observation()), ("GET", f"Patient/{OTHER}"))
    equal(statuses(Bundle(asked).create(server)), [200, 201, 403])
