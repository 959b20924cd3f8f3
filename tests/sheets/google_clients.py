#!/usr/bin/env python3
"""Drives the emulator of the Google Sheets API with clients that nobody here wrote: Google's own
google-api-python-client with google-auth, and gspread.

    google_clients.py PATH-OF-THE-EMULATOR [FILTER ...]

Each case prints `ok NAME` or `FAIL NAME: REASON`; the last line is `N passed, N failed`, and the exit
code is 1 if any failed. The emulator is started here on a free port, and ended by its pid.
"""

import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
import urllib.request

import gspread
import httplib2
import requests
from google.auth.compute_engine import _metadata
from google.auth.compute_engine import credentials as machine
from google.auth.exceptions import RefreshError
from google.auth.transport.requests import Request
from google.oauth2 import service_account
from google_auth_httplib2 import AuthorizedHttp
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

SCOPES = ["https://www.googleapis.com/auth/spreadsheets"]
START_DEADLINE = 20

cases = []


def case(function):
    cases.append(function)
    return function


def same(seen, wanted, what=""):
    assert seen == wanted, f"{what or 'value'}: {seen!r}, not {wanted!r}"


class Emulator:
    """The process, and what a client needs to know of it."""

    def __init__(self, program, directory):
        self.key = pathlib.Path(directory) / "key.json"
        self.file = pathlib.Path(directory) / "saved.json"
        self.program = program
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [self.program, "--port", "0", "--fast", "--key", self.key, "--save", self.file],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        guard = threading.Timer(START_DEADLINE, self.process.kill)
        guard.start()
        said = {}
        for line in self.process.stdout:
            word, _, rest = line.partition("  ")
            said[word.strip()] = rest.strip()
            if line.startswith("ready"):
                break
        guard.cancel()
        self.base, self.id = said["base URL"], said["spreadsheet"]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(10)

    def control(self, what, body=None, method=None):
        data = None if body is None else json.dumps(body).encode()
        method = method or ("GET" if data is None else "POST")
        request = urllib.request.Request(f"{self.base}_emulator/{what}", data, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()

    def credentials(self, scopes=SCOPES):
        return service_account.Credentials.from_service_account_file(self.key, scopes=scopes)

    def google(self, credentials=None):
        """Google's client, as `build("sheets", "v4")` makes it, at another address."""
        http = AuthorizedHttp(credentials or self.credentials(), http=httplib2.Http(timeout=10))
        options = {"api_endpoint": self.base}
        return build("sheets", "v4", http=http, client_options=options, static_discovery=True).spreadsheets()

    def gspread(self):
        """gspread has Google's address in its code; its session is given this one in its place."""
        client = gspread.authorize(self.credentials())
        session, base = client.http_client.session, self.base.rstrip("/")
        original = session.request
        session.request = lambda method, url, **rest: original(
            method, url.replace("https://sheets.googleapis.com", base), **rest
        )
        return client.open_by_key(self.id)

    def fresh(self):
        """An empty tab with a name of its own; its id and title."""
        self.tabs = getattr(self, "tabs", 0) + 1
        title = f"Tab {self.tabs}"
        reply = self.batch({"addSheet": {"properties": {"title": title}}})
        return reply["replies"][0]["addSheet"]["properties"]["sheetId"], title

    def batch(self, *requests, **more):
        body = {"requests": list(requests)} | more
        return self.google().batchUpdate(spreadsheetId=self.id, body=body).execute()


def refused(call, status, reason, text):
    try:
        answer = call.execute()
    except HttpError as error:
        detail = json.loads(error.content)["error"]
        same(error.resp.status, status, "status")
        same(detail["status"], reason, "error.status")
        assert text in detail["message"], detail["message"]
        return detail
    raise AssertionError(f"not refused: {answer}")


def text_cell(text):
    return {"userEnteredValue": {"stringValue": text}}


@case
def a_spreadsheet_is_read(emulator):
    seen = emulator.google().get(spreadsheetId=emulator.id).execute()
    same(seen["spreadsheetId"], emulator.id)
    same(seen["sheets"][0]["properties"]["gridProperties"], {"rowCount": 1000, "columnCount": 26})
    assert "data" not in seen["sheets"][0]
    fields = "sheets(properties(sheetId,title))"
    seen = emulator.google().get(spreadsheetId=emulator.id, fields=fields).execute()
    same(set(seen), {"sheets"})
    same(seen["sheets"][0], {"properties": {"sheetId": 0, "title": "Sheet1"}})


@case
def values_raw_and_as_typed(emulator):
    _, title = emulator.fresh()
    values, where = emulator.google().values(), f"'{title}'!A1"
    rows = [["=1+1", "007", 5, True], ["1/2/2026", "", None, "x"]]
    raw = values.update(
        spreadsheetId=emulator.id, range=where, valueInputOption="RAW", body={"values": rows}
    ).execute()
    same((raw["updatedRange"], raw["updatedCells"]), (f"'{title}'!A1:D2", 7))
    seen = values.get(spreadsheetId=emulator.id, range=f"'{title}'!A1:D9").execute()
    same(seen["range"], f"'{title}'!A1:D9")
    same(seen["values"], [["=1+1", "007", "5", "TRUE"], ["1/2/2026", "", "", "x"]])
    values.update(
        spreadsheetId=emulator.id, range=where, valueInputOption="USER_ENTERED", body={"values": rows}
    ).execute()
    plain = values.get(
        spreadsheetId=emulator.id, range=f"'{title}'!A1:D2", valueRenderOption="UNFORMATTED_VALUE"
    ).execute()
    same(plain["values"], [[2, 7, 5, True], [46024, "", "", "x"]])
    formulas = values.batchGet(
        spreadsheetId=emulator.id, ranges=[f"'{title}'!A1", f"'{title}'!Z9"], valueRenderOption="FORMULA"
    ).execute()
    same(formulas["valueRanges"][0]["values"], [["=1+1"]])
    assert "values" not in formulas["valueRanges"][1]


@case
def a_batch_is_all_or_nothing(emulator):
    sheet, title = emulator.fresh()
    write = {"updateCells": {
        "rows": [{"values": [text_cell("a")]}], "fields": "userEnteredValue",
        "start": {"sheetId": sheet, "rowIndex": 0, "columnIndex": 0},
    }}  # fmt: skip
    wrong = {"deleteSheet": {"sheetId": 99}}
    body = {"requests": [write, wrong]}
    call = emulator.google().batchUpdate(spreadsheetId=emulator.id, body=body)
    refused(call, 400, "INVALID_ARGUMENT", "Invalid requests[1].deleteSheet: No grid with id: 99")
    seen = emulator.google().values().get(spreadsheetId=emulator.id, range=f"'{title}'!A1").execute()
    assert "values" not in seen, seen
    duplicate = {"addSheet": {"properties": {"title": title}}}
    call = emulator.google().batchUpdate(spreadsheetId=emulator.id, body={"requests": [duplicate]})
    refused(call, 400, "INVALID_ARGUMENT", f'A sheet with the name "{title}" already exists.')


@case
def a_write_reads_in_its_own_answer(emulator):
    sheet, title = emulator.fresh()
    answer = emulator.google().batchUpdate(
        spreadsheetId=emulator.id,
        fields="updatedSpreadsheet.sheets(properties.title,data.rowData.values.effectiveValue)",
        body={
            "requests": [{"appendCells": {
                "sheetId": sheet, "fields": "userEnteredValue",
                "rows": [{"values": [text_cell("=1+1"), {"userEnteredValue": {"numberValue": 2**53}}]}],
            }}],
            "includeSpreadsheetInResponse": True,
            "responseRanges": [f"'{title}'!A1:C3", f"'{title}'!B1:B1"],
        },
    ).execute()  # fmt: skip
    (shown,) = answer["updatedSpreadsheet"]["sheets"]
    same(shown["properties"], {"title": title})
    same(shown["data"][0]["rowData"], [{"values": [
        {"effectiveValue": {"stringValue": "=1+1"}}, {"effectiveValue": {"numberValue": 2**53}},
    ]}])  # fmt: skip
    same(len(shown["data"]), 2)


@case
def metadata_finds_its_row_after_people_have_moved_it(emulator):
    sheet, title = emulator.fresh()
    google, values = emulator.google(), emulator.google().values()
    rows = [["key", "who"], ["MK-1", "a"], ["MK-2", "b"], ["MK-3", "c"]]
    values.update(
        spreadsheetId=emulator.id, range=f"'{title}'!A1", valueInputOption="RAW", body={"values": rows}
    ).execute()
    row = {"sheetId": sheet, "dimension": "ROWS", "startIndex": 2, "endIndex": 3}
    made = emulator.batch({"createDeveloperMetadata": {"developerMetadata": {
        "metadataKey": "spool", "metadataValue": "MK-2", "visibility": "DOCUMENT",
        "location": {"dimensionRange": row},
    }}})  # fmt: skip
    number = made["replies"][0]["createDeveloperMetadata"]["developerMetadata"]["metadataId"]
    emulator.batch(
        {"insertDimension": {"range": row | {"startIndex": 1, "endIndex": 3}}},
        {"moveDimension": {"source": row | {"startIndex": 4, "endIndex": 5}, "destinationIndex": 1}},
        {"updateSheetProperties": {
            "properties": {"sheetId": sheet, "title": f"{title} moved", "index": 0}, "fields": "title,index",
        }},
    )  # fmt: skip
    lookup = {"developerMetadataLookup": {"metadataKey": "spool", "metadataValue": "MK-2"}}
    done = values.batchUpdateByDataFilter(
        spreadsheetId=emulator.id,
        body={"valueInputOption": "RAW", "data": [{"dataFilter": lookup, "values": [[None, "93"]]}]},
    ).execute()
    same(done["totalUpdatedCells"], 1)
    seen = values.batchGetByDataFilter(spreadsheetId=emulator.id, body={"dataFilters": [lookup]}).execute()
    same(seen["valueRanges"][0]["valueRange"]["values"], [["MK-2", "93"]])
    found = google.developerMetadata().get(spreadsheetId=emulator.id, metadataId=number).execute()
    same(found["location"]["dimensionRange"]["startIndex"], 1)
    found = google.developerMetadata().search(
        spreadsheetId=emulator.id, body={"dataFilters": [lookup]}
    ).execute()  # fmt: skip
    same(found["matchedDeveloperMetadata"][0]["developerMetadata"]["metadataId"], number)
    again = {"createDeveloperMetadata": {"developerMetadata": {
        "metadataId": number, "metadataKey": "x", "visibility": "DOCUMENT", "location": {"spreadsheet": True},
    }}}  # fmt: skip
    call = google.batchUpdate(spreadsheetId=emulator.id, body={"requests": [again]})
    refused(call, 400, "INVALID_ARGUMENT", str(number))


@case
def what_is_wrong_is_told_as_google_tells_it(emulator):
    google, own = emulator.google(), {"spreadsheetId": emulator.id}
    values = google.values()
    refused(values.get(range="NOPE!A5:F15", **own), 400, "INVALID_ARGUMENT",
            "Unable to parse range: NOPE!A5:F15")  # fmt: skip
    refused(values.get(range="Sheet1!A1001", **own), 400, "INVALID_ARGUMENT",
            "Range (Sheet1!A1001) exceeds grid limits. Max rows: 1000, max columns: 26")  # fmt: skip
    body = {"values": [["x" * 50_001]]}
    call = values.update(range="Sheet1!A1", valueInputOption="RAW", body=body, **own)
    refused(call, 400, "INVALID_ARGUMENT", "more than the maximum of 50000 characters")
    bad = google.get(fields="sheets.sheetProperties", **own)
    detail = refused(bad, 400, "INVALID_ARGUMENT", "Request contains an invalid argument.")
    violation = detail["details"][0]["fieldViolations"][0]["description"]
    assert violation.endswith("Cannot find matching fields for path 'sheets.sheetProperties'."), violation
    body = {"requests": [{"frobnicate": {}}]}
    refused(google.batchUpdate(body=body, **own), 400, "INVALID_ARGUMENT",
            "Unknown name \"frobnicate\" at 'requests[0]': Cannot find field.")  # fmt: skip
    refused(google.get(spreadsheetId="none"), 404, "NOT_FOUND", "Requested entity was not found.")
    big = {"requests": [{"appendDimension": {"dimension": "ROWS", "length": 400_000}}]}
    refused(google.batchUpdate(body=big, **own), 400, "INVALID_ARGUMENT", "limit of 10000000 cells")


@case
def credentials_expire_are_revoked_and_have_scopes(emulator):
    credentials = emulator.credentials()
    google = emulator.google(credentials)
    google.get(spreadsheetId=emulator.id).execute()
    first = credentials.token
    emulator.control("tokens", {"revoke": True})
    google.get(spreadsheetId=emulator.id).execute()
    assert credentials.token != first, "a 401 makes google-auth ask for another token"
    readonly = emulator.google(emulator.credentials(["https://www.googleapis.com/auth/spreadsheets.readonly"]))
    readonly.get(spreadsheetId=emulator.id).execute()
    body = {"requests": [{"addSheet": {}}]}
    call = readonly.batchUpdate(spreadsheetId=emulator.id, body=body)
    detail = refused(call, 403, "PERMISSION_DENIED", "insufficient authentication scopes")
    same(detail["details"][0]["reason"], "ACCESS_TOKEN_SCOPE_INSUFFICIENT")
    stranger = emulator.credentials()
    stranger._service_account_email = "nobody@example.com"
    try:
        stranger.refresh(Request())
        raise AssertionError("a token for an account that is not there")
    except RefreshError as error:
        assert "invalid_grant" in str(error), error


@case
def the_metadata_server_gives_tokens(emulator):
    headers = {"Metadata-Flavor": "Google"}
    url = f"{emulator.base}computeMetadata/v1/instance/service-accounts/default/token"
    same(requests.get(url, timeout=10).status_code, 403, "without Metadata-Flavor")
    token = requests.get(url, {"scopes": SCOPES[0]}, headers=headers, timeout=10).json()
    same(set(token), {"access_token", "expires_in", "token_type"})
    get = f"{emulator.base}v4/spreadsheets/{emulator.id}"
    answer = requests.get(get, headers={"Authorization": f"Bearer {token['access_token']}"}, timeout=10)
    same(answer.status_code, 200)
    same(requests.get(get, timeout=10).status_code, 403, "without a token")
    same(requests.get(get, headers={"Authorization": "Bearer x"}, timeout=10).status_code, 401, "a wrong one")
    # What GCE_METADATA_HOST sets at the start of a program.
    _metadata._GCE_METADATA_HOST = emulator.base.removeprefix("http://").rstrip("/")
    own = machine.Credentials(scopes=SCOPES)
    own.refresh(Request())
    emulator.google(own).get(spreadsheetId=emulator.id).execute()


@case
def quotas_are_kept(emulator):
    limits = {"reads_per_user": 3}
    before = {"reads_per_user": 1_000_000}
    emulator.control("quota", limits)
    try:
        call = lambda: emulator.google().get(spreadsheetId=emulator.id, fields="spreadsheetId")  # noqa: E731
        detail = None
        for _ in range(8):  # the minute may end meanwhile
            try:
                call().execute()
            except HttpError:
                detail = refused(call(), 429, "RESOURCE_EXHAUSTED", "'Read requests per minute per user'")
                break
        assert detail, "never refused"
        same(detail["details"][0]["reason"], "RATE_LIMIT_EXCEEDED")
        same(detail["details"][0]["metadata"]["quota_limit_value"], "3")
    finally:
        emulator.control("quota", before)


@case
def faults_reach_the_client(emulator):
    google = emulator.google()
    get = lambda: google.get(spreadsheetId=emulator.id, fields="spreadsheetId")  # noqa: E731
    emulator.control("faults", {"on": "reads", "kind": "status", "code": 503})
    refused(get(), 503, "UNAVAILABLE", "The service is currently unavailable.")
    emulator.control("faults", {"on": "reads", "kind": "page", "code": 502})
    try:
        get().execute()
        raise AssertionError("a page is no answer")
    except HttpError as error:
        assert error.content.startswith(b"<!DOCTYPE html>"), error.content
    get().execute()
    emulator.control("faults", {"on": "reads", "kind": "cut_before", "times": 9})
    try:
        get().execute()
        raise AssertionError("no answer came")
    except (OSError, httplib2.HttpLib2Error, ConnectionError):
        pass
    except Exception as error:
        assert "RemoteDisconnected" in type(error).__name__ or "BadStatusLine" in type(error).__name__, error
    emulator.control("faults", method="DELETE")
    get().execute()


@case
def a_cut_after_a_write_leaves_it_written(emulator):
    _, title = emulator.fresh()
    token = emulator.credentials()
    token.refresh(Request())
    headers = {"Authorization": f"Bearer {token.token}"}
    url = f"{emulator.base}v4/spreadsheets/{emulator.id}/values/'{title}'!A1"
    put = lambda text: requests.put(  # noqa: E731
        url, params={"valueInputOption": "RAW"}, json={"values": [[text]]}, headers=headers, timeout=10
    )
    look = lambda: emulator.control(f"table?range='{title.replace(' ', '%20')}'!A1").strip()  # noqa: E731
    for kind, seen in [("cut_before", ""), ("cut_after", "cut_after"), ("cut_body", "cut_body")]:
        emulator.control("faults", {"on": "writes", "kind": kind, "bytes": 10})
        try:
            put(kind)
            raise AssertionError(f"{kind}: an answer came")
        except requests.exceptions.RequestException:
            same(look(), seen, kind)
    emulator.control("faults", {"on": "writes", "kind": "status", "code": 503, "applied": True})
    same(put("and yet").status_code, 503)
    same(look(), "and yet")


@case
def gspread_works(emulator):
    book = emulator.gspread()
    sheet = book.add_worksheet("With 'quotes' & #1?", rows=5, cols=3)
    same(sheet.title in [tab.title for tab in book.worksheets()], True)
    sheet.update([["key", "who"], ["a", "x"], ["b", "y"]], "A1")
    same(sheet.get_all_values(), [["key", "who"], ["a", "x"], ["b", "y"]])
    same(sheet.get_all_records(), [{"key": "a", "who": "x"}, {"key": "b", "who": "y"}])
    sheet.append_row(["c", 5], table_range="A1")
    sheet.append_rows([["d"], ["e"], ["f"]], value_input_option="USER_ENTERED")
    same((sheet.col_values(1), sheet.cell(4, 2).value), (["key", "a", "b", "c", "d", "e", "f"], "5"))
    same(book.worksheet(sheet.title).row_count, 7, "rows were added")
    cell = sheet.find("b")
    same((cell.row, cell.col), (3, 1))
    sheet.update_cell(3, 2, "=2*3")
    same(sheet.acell("B3").value, "6")
    sheet.sort((1, "des"), range="A2:C7")
    same(sheet.col_values(1), ["key", "f", "e", "d", "c", "b", "a"])
    sheet.insert_row(["new"], index=2)
    sheet.delete_rows(3)
    same(sheet.col_values(1), ["key", "new", "e", "d", "c", "b", "a"])
    sheet.batch_update([{"range": "A2:B2", "values": [["n", "m"]]}, {"range": "C7", "values": [["end"]]}])
    same(sheet.row_values(2), ["n", "m"])
    sheet.resize(rows=10, cols=4)
    sheet.freeze(rows=1)
    sheet.batch_clear(["A2:B2"])
    same(sheet.row_values(2), [])
    sheet.add_protected_range("A1:D1")
    sheet.hide()
    sheet.update_title("Other")
    same(book.worksheet("Other").id, sheet.id)
    copy = sheet.duplicate(new_sheet_name="Copy")
    same(copy.acell("C7").value, "end")
    sheet.clear()
    same(sheet.get_all_values(), [[]])
    book.del_worksheet(copy)
    book.del_worksheet(sheet)
    try:
        book.worksheet("Other")
        raise AssertionError("it was deleted")
    except gspread.WorksheetNotFound:
        pass


@case
def the_file_keeps_everything(emulator):
    sheet, title = emulator.fresh()
    values = [["1/2/2026", "=1+1", "x"]]
    emulator.google().values().update(
        spreadsheetId=emulator.id, range=f"'{title}'!B2", valueInputOption="USER_ENTERED",
        body={"values": values},
    ).execute()  # fmt: skip
    row = {"sheetId": sheet, "dimension": "ROWS", "startIndex": 1, "endIndex": 2}
    emulator.batch(
        {"createDeveloperMetadata": {"developerMetadata": {
            "metadataKey": "k", "visibility": "DOCUMENT", "location": {"dimensionRange": row}}}},
        {"addProtectedRange": {"protectedRange": {"range": {"sheetId": sheet}}}},
    )  # fmt: skip
    look = lambda: emulator.google().get(spreadsheetId=emulator.id, includeGridData=True).execute()  # noqa: E731
    before = look()
    same(emulator.stop(), 0, "exit code")
    emulator.start()
    after = look()
    same(after, before)
    emulator.control("quota", {"reads_per_user": 1_000_000, "writes_per_user": 1_000_000,
                               "reads_per_project": 1_000_000, "writes_per_project": 1_000_000})  # fmt: skip


def main():
    program, *filters = sys.argv[1:]
    passed = failed = 0
    with tempfile.TemporaryDirectory() as directory:
        emulator = Emulator(program, directory)
        emulator.control("quota", {"reads_per_user": 1_000_000, "writes_per_user": 1_000_000,
                                   "reads_per_project": 1_000_000, "writes_per_project": 1_000_000})  # fmt: skip
        try:
            for function in cases:
                if filters and not any(part in function.__name__ for part in filters):
                    continue
                try:
                    function(emulator)
                    passed += 1
                    print(f"ok   sheets-emulator: {function.__name__}", flush=True)
                except Exception as error:
                    failed += 1
                    print(f"FAIL sheets-emulator: {function.__name__}: {error}", flush=True)
                    print("".join(f"     | {line}" for line in traceback.format_exc().splitlines(True)[-8:]))
        finally:
            emulator.process.kill()
            emulator.process.wait()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
