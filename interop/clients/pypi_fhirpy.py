"""PyPI `fhirpy`, both of its clients: the checks are written once, and the asynchronous client is waited for."""

import asyncio
import inspect
import sys

from checks import BASE, FOREIGN, OTHER, PATIENT, SETUP, bundle, check, equal, mine, names, observation, refused, statuses, upstream
from fhirpy import AsyncFHIRClient, SyncFHIRClient
from fhirpy.base.exceptions import AuthorizationError, ForbiddenError, OperationOutcome, ResourceNotFound

ASYNC = sys.argv[1] == "async"


def client(token=SETUP["token"], **named):
    return (AsyncFHIRClient if ASYNC else SyncFHIRClient)(BASE, authorization=f"Bearer {token}", **named)


def wait(answer):
    """What a call of either client ends in."""
    async def awaited():
        return await answer
    return asyncio.run(awaited()) if inspect.isawaitable(answer) else answer


def no(kind, call, *arguments, **named):
    return refused(kind, lambda: wait(call(*arguments, **named)))


def resource(patient=PATIENT, **named):
    """A new Observation as the library's own class."""
    return fhir.resource("Observation", **{name: value for name, value in observation(patient).items() if name != "resourceType"}, **named)


fhir = client()


@check("metadata", "execute of metadata")
def _():
    equal(wait(fhir.execute("metadata", method="get"))["fhirVersion"], "4.0.1")


@check("read", "get, reference to_resource")
def _():
    held = upstream(f"Patient/{PATIENT}")
    equal(wait(fhir.get("Patient", PATIENT))["name"], held["name"])
    equal(wait(fhir.reference("Patient", PATIENT).to_resource())["birthDate"], held["birthDate"])


@check("read", "refresh of what was read (If-None-Match)")
def _():
    patient = wait(fhir.reference("Patient", PATIENT).to_resource())
    equal(wait(patient.refresh())["id"], PATIENT)


@check("search", "search().get() by _id, first()")
def _():
    equal(wait(fhir.resources("Patient").search(_id=PATIENT).get())["id"], PATIENT)
    first = wait(fhir.resources("Observation").first())
    if f"Observation/{first['id']}" not in mine("Observation"):
        raise AssertionError(first["id"])


@check("search", "search by code and date, sorted")
def _():
    search = fhir.resources("Observation").search(code="8867-4", date__ge="2020").sort("-date")
    found = wait(search.fetch_all())
    equal(names(found), mine("Observation?code=8867-4&date=ge2020"))
    dates = [one["effectiveDateTime"] for one in found]
    equal(dates, sorted(dates, reverse=True))


@check("search", "elements()")
def _():
    found = wait(fhir.resources("Observation").elements("status").limit(3).fetch())
    equal([sorted(set(one) - {"meta", "subject", "code"}) for one in found], [["id", "resourceType", "status"]] * 3)


@check("search", "count(), which asks for a total, is refused with an OperationOutcome")
def _():
    no(OperationOutcome, fhir.resources("Observation").count)


@check("paging", "fetch_all")
def _():
    equal(names(wait(fhir.resources("Observation").limit(7).fetch_all())), mine("Observation"))


@check("paging", "iteration")
def _():
    search = fhir.resources("Observation").limit(10)

    async def through():
        return [one async for one in search]
    equal(names(asyncio.run(through()) if ASYNC else list(search)), mine("Observation"))


@check("includes", "include, revinclude, to_resource of a reference")
def _():
    page = wait(fhir.resources("Encounter").include("Encounter", "subject").fetch_raw())
    equal(names(entry["resource"] for entry in page["entry"] if entry["search"]["mode"] == "include"), [f"Patient/{PATIENT}"])
    page = wait(fhir.resources("Patient").search(_id=PATIENT).revinclude("Condition", "subject").fetch_raw())
    equal(names(entry["resource"] for entry in page["entry"]), sorted([*mine("Condition"), f"Patient/{PATIENT}"]))
    encounter = wait(fhir.resources("Encounter").first())
    equal(wait(encounter["subject"].to_resource())["id"], PATIENT)


@check("refusals", "another patient is ForbiddenError")
def _():
    no(ForbiddenError, fhir.get, "Patient", OTHER)
    no(ForbiddenError, fhir.resources("Observation").search(patient=OTHER).fetch_all)
    no(ForbiddenError, fhir.resources("Coverage").fetch)


@check("refusals", "another patient's resource and an absent one are the same ResourceNotFound")
def _():
    said = [str(no(ResourceNotFound, fhir.get, "Observation", name)).replace(name, "{id}") for name in (FOREIGN, "no-such-observation")]
    equal(said[0], said[1])


@check("refusals", "a token that is none is AuthorizationError")
def _():
    no(AuthorizationError, client("none").get, "Patient", PATIENT)


@check("write", "save creates, save updates, delete")
def _():
    made = resource()
    wait(made.save())
    held = upstream(f"Observation/{made.id}")
    equal((held["status"], held["subject"]["reference"]), ("preliminary", f"Patient/{PATIENT}"))
    made["status"] = "final"
    wait(made.save())
    equal(upstream(f"Observation/{made.id}")["status"], "final")
    wait(made.delete())
    equal(upstream(f"Observation/{made.id}"), None)
    no(ResourceNotFound, fhir.get, "Observation", made.id)


@check("write", "writes on another patient, and conditional ones, are refused")
def _():
    before = upstream(f"Observation/{FOREIGN}")
    no(ForbiddenError, resource(OTHER).save)
    no(ResourceNotFound, resource(id=FOREIGN).save)
    no(ResourceNotFound, fhir.delete, "Observation", FOREIGN)
    no(ForbiddenError, fhir.resources("Observation").search(code="8867-4").update, resource())
    equal(upstream(f"Observation/{FOREIGN}"), before)


@check("patch", "JSON Patch by execute, with its content type")
def _():
    made = resource()
    wait(made.save())
    patcher = client(extra_headers={"Content-Type": "application/json-patch+json"})
    change = [{"op": "replace", "path": "/status", "value": "amended"}]
    equal(wait(patcher.execute(f"Observation/{made.id}", method="patch", data=change))["status"], "amended")
    equal(upstream(f"Observation/{made.id}")["status"], "amended")
    no(ResourceNotFound, patcher.execute, f"Observation/{FOREIGN}", method="patch", data=change)


@check("patch", "patch(), a partial resource that FHIR does not define, is refused with an OperationOutcome")
def _():
    made = resource()
    wait(made.save())
    no(OperationOutcome, fhir.patch, "Observation", made.id, status="amended")
    equal(upstream(f"Observation/{made.id}")["status"], "preliminary")


@check("batch", "a batch by execute, each entry judged by itself")
def _():
    asked = bundle("batch", ("GET", f"Patient/{PATIENT}"), ("POST", "Observation", observation()), ("GET", f"Patient/{OTHER}"))
    equal(statuses(wait(fhir.execute("", data=asked))), [200, 201, 403])
