"""Time-series stores that tests write to and read from: VictoriaMetrics, which accepts InfluxDB's line protocol, and moto's Timestream."""

import json
import subprocess
import time
import urllib.parse

from cloud import free_port, http

DATABASE, TABLE = "mailgauge", "events"


class VictoriaMetrics:
    """A server. Leaving the context stops it."""

    def __init__(self, program, scratch):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [program, f"-storageDataPath={scratch / 'victoria-metrics'}", f"-httpListenAddr=127.0.0.1:{self.port}"]
        # Simulated mail begins in the past. The retention is given in months.
        command += ["-retentionPeriod=12", "-loggerLevel=WARN"]
        # Like InfluxDB, keep one value of a series for each time.
        command += ["-dedup.minScrapeInterval=1ms"]
        log = open(scratch / "victoria-metrics.log", "wb")
        self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def __enter__(self):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                if http(f"{self.url}/health", timeout=2)[0] == 200:
                    return self
            except OSError:
                time.sleep(0.1)
        raise RuntimeError("VictoriaMetrics did not start")

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def sums(self, metrics):
        """The sums of all points, by tenant."""
        http(f"{self.url}/internal/force_flush")
        found = {}
        for name in metrics:
            match = urllib.parse.quote(f'{{__name__="events_{name}"}}')
            _, body = http(f"{self.url}/api/v1/export?match[]={match}&start=0")
            for line in body.splitlines():
                series = json.loads(line)
                counts = found.setdefault(series["metric"]["tenant"], dict.fromkeys(metrics, 0))
                counts[name] += int(sum(series["values"]))
        return found


class Timestream:
    """A table of moto's Timestream. moto keeps records that are written twice, so this class removes duplicates as AWS does."""

    def __init__(self, cloud):
        self.cloud = cloud
        client = cloud.client("timestream-write")
        client.create_database(DatabaseName=DATABASE)
        client.create_table(DatabaseName=DATABASE, TableName=TABLE)

    def sums(self, metrics):
        """The sums by tenant. As on AWS, time and dimensions identify a record, and the last one written stays."""
        _, body = http(f"http://127.0.0.1:{self.cloud.timestream_port}/moto-api/data.json")
        records = {}
        for table in json.loads(body)["timestreamwrite"]["TimestreamTable"]:
            for record in table.get("records", []):
                dimensions = tuple(sorted((one["Name"], one["Value"]) for one in record["Dimensions"]))
                records[record["Time"], dimensions] = record
        found = {}
        for record in records.values():
            assert record.get("MeasureValues"), record
            tenant = next(one["Value"] for one in record["Dimensions"] if one["Name"] == "tenant")
            counts = found.setdefault(tenant, dict.fromkeys(metrics, 0))
            for measure in record["MeasureValues"]:
                if measure["Name"] in counts:
                    counts[measure["Name"]] += int(measure["Value"])
        return found
