// An OPC UA server by node-opcua: opcua.js PORT FOLDER, with cert.pem and key.pem in the folder, and in trusted/ the certificates of clients
// and users. Its nodes are below ns=1; what comes on standard input changes them, a line "NAME JSON" each.
const fs = require("node:fs");
const path = require("node:path");
const readline = require("node:readline");
const { OPCUAServer } = require("node-opcua-server");
const { OPCUACertificateManager } = require("node-opcua-certificate-manager");
const { DataType, VariantArrayType } = require("node-opcua-variant");
const { StatusCodes } = require("node-opcua-status-code");
const { MessageSecurityMode } = require("node-opcua-types");
const { SecurityPolicy } = require("node-opcua-secure-channel");

const [port, folder] = process.argv.slice(2);

async function main() {
	const manager = new OPCUACertificateManager({ rootFolder: path.join(folder, "pki"), automaticallyAcceptUnknownCertificate: false });
	await manager.initialize();
	const users = new OPCUACertificateManager({ rootFolder: path.join(folder, "users"), automaticallyAcceptUnknownCertificate: false });
	await users.initialize();
	for (const [m, kind] of [[manager, "client"], [users, "user"]]) {
		for (const name of fs.readdirSync(path.join(folder, "trusted"))) {
			if (name.startsWith(kind)) await m.trustCertificate(fs.readFileSync(path.join(folder, "trusted", name)));
		}
	}
	const server = new OPCUAServer({
		port: Number(port), hostname: "127.0.0.1", resourcePath: "", alternateHostname: ["127.0.0.1"],
		certificateFile: path.join(folder, "cert.pem"), privateKeyFile: path.join(folder, "key.pem"),
		serverCertificateManager: manager, userCertificateManager: users,
		securityModes: [MessageSecurityMode.None, MessageSecurityMode.Sign, MessageSecurityMode.SignAndEncrypt],
		securityPolicies: [SecurityPolicy.None, SecurityPolicy.Basic256Sha256],
		serverInfo: { applicationUri: "urn:edgechain:test:server", productUri: "urn:edgechain:test" },
		allowAnonymous: true, userManager: { isValidUser: (user, password) => user === "reader" && password === "right" },
		registerServerMethod: 1,
	});
	await server.initialize();
	const space = server.engine.addressSpace.getOwnNamespace();
	const press = space.addObject({ organizedBy: server.engine.addressSpace.rootFolder.objects, browseName: "Press", nodeId: "s=Press" });
	const add = (name, dataType, value, more = {}) => space.addVariable({ componentOf: press, browseName: name, nodeId: "s=" + name, dataType, minimumSamplingInterval: 10, value: { dataType, value, ...more } });
	const nodes = {
		Temperature: add("Temperature", DataType.Float, 21.7),
		Count: add("Count", DataType.UInt64, [0, 7], { arrayType: VariantArrayType.Scalar }),
		Model: add("Model", DataType.String, "Press 07"),
		Axes: add("Axes", DataType.Int16, Int16Array.from([1, -2, 3]), { arrayType: VariantArrayType.Array }),
		Guard: add("Guard", DataType.Boolean, true),
		Doubtful: add("Doubtful", DataType.Double, 1.5),
		Broken: add("Broken", DataType.Double, 2.5),
	};
	const at = new Date("2026-03-01T08:00:00.125Z");
	nodes.Temperature.setValueFromSource({ dataType: DataType.Float, value: 21.7 }, StatusCodes.Good, at);
	nodes.Doubtful.setValueFromSource({ dataType: DataType.Double, value: 1.5 }, StatusCodes.UncertainLastUsableValue, at);
	nodes.Broken.setValueFromSource({ dataType: DataType.Double, value: 2.5 }, StatusCodes.BadSensorFailure, at);
	await server.start();
	console.log("ready");
	readline.createInterface({ input: process.stdin }).on("line", (line) => {
		const [name, from, to] = line.split(" ");
		for (let n = Number(from); n <= Number(to ?? from); n++) nodes[name].setValueFromSource({ dataType: nodes[name].dataType.value, value: n }, StatusCodes.Good, new Date());
	});
}

main().catch((err) => {
	console.error(err);
	process.exit(1);
});
