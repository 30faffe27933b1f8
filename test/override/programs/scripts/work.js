// node: maps, buffers, compression, and worker threads that hand over memory.
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
const crypto = require('crypto');
const zlib = require('zlib');

let state = 1;
function randomBelow(limit) {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return (state >>> 8) % limit;
}

function churn(seed) {
    state = seed;
    const table = new Map();
    for (let step = 0; step < 200000; step++) {
        const key = 'key' + randomBelow(5000);
        if (table.has(key) && randomBelow(3) === 0) table.delete(key);
        else table.set(key, Buffer.alloc(randomBelow(4000), step & 255));
    }
    const hash = crypto.createHash('sha256');
    for (const key of [...table.keys()].sort()) hash.update(key).update(table.get(key));
    const packed = zlib.deflateSync(Buffer.concat([...table.values()].slice(0, 500)));
    return hash.update(zlib.inflateSync(packed)).digest('hex');
}

if (isMainThread) {
    console.log(churn(1));
    const workers = [2, 3, 4].map((seed) => new Promise((resolve, reject) => {
        const worker = new Worker(__filename, { workerData: seed });
        worker.on('message', resolve);
        worker.on('error', reject);
    }));
    Promise.all(workers).then((results) => {
        for (const { digest, block } of results) console.log(digest, new Uint8Array(block).length);
    });
} else {
    const block = new ArrayBuffer(workerData * 1000000);
    parentPort.postMessage({ digest: churn(workerData), block }, [block]);
}
