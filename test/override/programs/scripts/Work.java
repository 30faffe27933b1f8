import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Random;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.zip.CRC32;
import java.util.zip.Deflater;

/** openjdk: maps on its own heap; compression, direct buffers and threads, which use malloc. */
public class Work {
    static String churn(long seed) {
        Random random = new Random(seed);
        HashMap<Integer, ByteBuffer> table = new HashMap<>();
        for (int step = 0; step < 20000; step++) {
            ByteBuffer buffer = ByteBuffer.allocateDirect(16 + random.nextInt(2000));
            buffer.putInt(0, step);
            table.put(random.nextInt(500), buffer);
        }
        CRC32 sum = new CRC32();
        byte[] packed = new byte[200000];
        for (int key = 0; key < 500; key++) {
            ByteBuffer buffer = table.get(key);
            if (buffer == null) continue;
            byte[] bytes = new byte[buffer.capacity()];
            buffer.get(bytes);
            Deflater deflater = new Deflater();
            deflater.setInput(bytes);
            deflater.finish();
            sum.update(packed, 0, deflater.deflate(packed));
            deflater.end();
        }
        return table.size() + " " + Long.toHexString(sum.getValue());
    }

    public static void main(String[] arguments) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(4);
        List<Future<String>> results = new ArrayList<>();
        for (int seed = 0; seed < 8; seed++) {
            final long own = seed;
            Callable<String> task = () -> churn(own);
            results.add(pool.submit(task));
        }
        for (Future<String> result : results) System.out.println(result.get());
        pool.shutdown();
    }
}
