"""Time-series stores to write to and to read back from: VictoriaMetrics, which takes InfluxDB's line protocol, and moto's Timestream."""

import json
import subprocess
import time
import urllib.parse

from cloud import free_port, http

DATABASE, TABLE = "mailgauge", "events"


class VictoriaMetrics:
    """A server of its own; ends on leaving."""

    def __init__(self, program, scratch):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [program, f"-storageDataPath={scratch / 'victoria-metrics'}", f"-httpListenAddr=127.0.0.1:{self.port}"]
        # Mail of the simulator begins in the past; the retention is counted in months.
        command += ["-retentionPeriod=12", "-loggerLevel=WARN"]
        # As InfluxDB does by itself: of a series' values at one time one is kept.
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
        """Sums by tenant of everything there is."""
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
    """A table of moto's Timestream, which takes whatever it is given: what stands twice is found here, not there."""

    def __init__(self, cloud):
        self.cloud = cloud
        client = cloud.client("timestream-write")
        client.create_database(DatabaseName=DATABASE)
        client.create_table(DatabaseName=DATABASE, TableName=TABLE)

    def sums(self, metrics):
        """Sums by tenant. As on AWS a record is told by its time and dimensions, and the last one written stays."""
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
