# A Modbus device by pymodbus 3.0, on TCP or on a serial line: modbus.py tcp PORT, modbus.py rtu DEVICE.
#
# Units 1 and 2 have holding registers 0 to 999 whose value is the address plus 1,000 times the unit, but for some of unit 1
# from 100 on, which are of each type; input registers 0 to 99 with 7 times the address; coils and discrete inputs 0 to 99, of
# which each third is set. Input registers 9001 to 9011 answer with the exception of that number less 9000; 9100 waits for a
# second.
import struct
import sys
import time

from pymodbus.datastore import ModbusSequentialDataBlock, ModbusServerContext, ModbusSlaveContext
from pymodbus.pdu import ExceptionResponse
from pymodbus.register_read_message import ReadInputRegistersRequest, ReadInputRegistersResponse
from pymodbus.server import StartSerialServer, StartTcpServer
from pymodbus.transaction import ModbusRtuFramer


class Input(ReadInputRegistersRequest):
    def execute(self, context):
        if 9001 <= self.address <= 9011:
            return ExceptionResponse(self.function_code, self.address - 9000)
        if self.address == 9100:
            time.sleep(1)
            return ReadInputRegistersResponse([9100] * self.count)
        return super().execute(context)


def registers(form, value):
    data = struct.pack(form, value)
    return list(struct.unpack(">%dH" % (len(data) // 2), data))


def unit(number):
    holding = [number * 1000 + address for address in range(1000)]
    if number == 1:
        at = 100
        for form, value in [(">h", -123), (">i", -70000), (">q", -5000000000), (">Q", 2**64 - 1), (">f", 21.7), (">d", -0.001), (">e", 1.5)]:
            words = registers(form, value)
            holding[at : at + len(words)] = words
            at += 10
        text = b"Press 07\0\0"
        holding[170:175] = list(struct.unpack(">5H", text))
    bits = [address % 3 == 0 for address in range(100)]
    return ModbusSlaveContext(
        hr=ModbusSequentialDataBlock(0, holding),
        ir=ModbusSequentialDataBlock(0, [7 * address for address in range(100)]),
        co=ModbusSequentialDataBlock(0, bits),
        di=ModbusSequentialDataBlock(0, bits[::-1]),
        zero_mode=True,
    )


context = ModbusServerContext(slaves={1: unit(1), 2: unit(2)}, single=False)
if sys.argv[1] == "tcp":
    StartTcpServer(context=context, address=("127.0.0.1", int(sys.argv[2])), custom_functions=[Input], allow_reuse_address=True)
else:
    StartSerialServer(context=context, framer=ModbusRtuFramer, port=sys.argv[2], baudrate=19200, timeout=0.005, custom_functions=[Input])
