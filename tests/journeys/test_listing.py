"""The list of jobs, and jobs that are on nobody's."""

from __future__ import annotations

import pytest
from installation import Installation, Wire


async def test_unknown_jobs_are_the_same_404_on_every_route(wire: Wire) -> None:
    # Given ids that no job has, well formed and not
    for job_id in ("job_" + "0" * 26, "job_x", "x" * 5000, "%00", "..%2f"):
        # When any route is asked for them; Then 404
        for method, tail in (("GET", ""), ("GET", "/events"), ("POST", "/cancel"), ("DELETE", "")):
            answer = await wire.http.request(method, f"/v1/jobs/{job_id}{tail}")
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_the_list_goes_through_all_jobs_newest_first(install, client_of) -> None:
    # Given seven jobs, one of them cancelled
    installation: Installation = install()
    wire: Wire = client_of(installation)
    made = [await wire.submit("quick") for _ in range(7)]
    await wire.http.post(f"/v1/jobs/{made[3]}/cancel")
    # When the list is read three at a time
    found, after = [], None
    while True:
        params = {"limit": 3} | ({"after": after} if after else {})
        page = (await wire.http.get("/v1/jobs", params=params)).json()
        found += page["data"]
        after = page["next"]
        if after is None:
            break
    # Then it has every job once, newest first, without results
    assert [job["id"] for job in found] == made[::-1]
    assert {job["result"] for job in found} == {None}
    # And it can be told to show only those of one status
    some = (await wire.http.get("/v1/jobs", params={"status": "cancelled"})).json()["data"]
    assert [job["id"] for job in some] == [made[3]]


@pytest.mark.parametrize(
    ("query", "name"),
    [("status=odd", "status"), ("limit=0", "limit"), ("limit=x", "limit"), ("after=x", "after")],
)
async def test_a_list_that_can_not_be_made_says_which_parameter_is_wrong(
    wire: Wire, query: str, name: str
) -> None:
    # Given a bad parameter; When listed; Then 422 names it
    answer = await wire.http.get(f"/v1/jobs?{query}")
    assert (answer.status_code, answer.json()["errors"][0]["parameter"]) == (422, name)
