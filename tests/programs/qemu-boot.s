# qemu-boot.s: a boot sector that copies a disk to a second one and back, and says what it read.
#
#   disk 0: [ COUNT sectors, this one first | what came back ]     disk 1: [ the copy ]
#                        \__ read, summed, written ______________________/   |
#                                              ^___ read, summed, written ___|
#
# By the BIOS (INT 13h extensions), CHUNK sectors at a time; COUNT, a multiple of it, is a symbol of the command line. The
# sums are those of sum(1): the serial port gets "sums HHHH HHHH", or "disk 8X: error EE". Then the machine is switched
# off (ACPI S5 of QEMU's machine "pc").
        .code16
        .globl  _start
        .equ    CHUNK, 64
        .equ    BUFFER, 0x1000          # a segment
        .equ    SERIAL, 0x3f8
        .equ    POWER, 0x604

_start: ljmp    $0, $1f
1:      xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %ss
        movw    $0x7c00, %sp
        cld
        movw    $0x8180, %bx            # from BL to BH
        call    copy
        pushw   %ax
        xchgb   %bl, %bh
        movw    $COUNT, target
        call    copy
        pushw   %ax
        movw    $sums, %si
        call    say
        popw    %cx
        popw    %ax
        pushw   %cx
        call    word
        popw    %ax
        call    word
off:    movw    $line, %si
        call    say
        movw    $POWER, %dx
        movw    $0x2000, %ax
        outw    %ax, %dx
1:      hlt
        jmp     1b

# Copies COUNT sectors from disk BL to sector `target` and on of disk BH; AX: their sum.
copy:   xorw    %ax, %ax
        xorl    %ebp, %ebp              # the sector
1:      movb    %bl, %dl
        movl    %ebp, sector
        movb    $0x42, %cl
        call    disk
        call    sum
        movb    %bh, %dl
        movzwl  target, %ecx
        addl    %ecx, sector
        movb    $0x43, %cl
        call    disk
        addw    $CHUNK, %bp
        cmpw    $COUNT, %bp
        jb      1b
        ret

# Function CL of disk DL for the packet; ends everything when it fails.
disk:   pushaw
        movw    $packet, %si
        movb    %cl, %ah
        movb    $0, %al
        pushw   %dx
        int     $0x13
        popw    %dx
        jc      1f
        popaw
        ret
1:      pushw   %ax
        pushw   %dx
        movw    $disks, %si
        call    say
        popw    %ax
        call    byte
        movw    $error, %si
        call    say
        popw    %ax
        movb    %ah, %al
        call    byte
        jmp     off

# AX: sum(1)'s, the buffer added.
sum:    pushw   %ds
        movw    $BUFFER, %cx
        movw    %cx, %ds
        movw    $CHUNK * 512, %cx
        xorw    %si, %si
        xorw    %dx, %dx
1:      rorw    $1, %ax
        movb    (%si), %dl
        addw    %dx, %ax
        incw    %si
        loop    1b
        popw    %ds
        ret

# The zero-terminated SI.
1:      call    char
say:    lodsb
        testb   %al, %al
        jnz     1b
        ret

# AX with a space before it, in hexadecimal; AL.
word:   pushw   %ax
        movb    $' ', %al
        call    char
        popw    %ax
        pushw   %ax
        movb    %ah, %al
        call    byte
        popw    %ax
byte:   pushw   %ax
        shrb    $4, %al
        call    digit
        popw    %ax
        andb    $15, %al
digit:  addb    $'0', %al
        cmpb    $'9', %al
        jbe     char
        addb    $'a' - '0' - 10, %al
char:   movw    $SERIAL, %dx
        outb    %al, %dx
        ret

sums:   .asciz  "sums"
disks:  .asciz  "disk "
error:  .asciz  ": error "
line:   .asciz  "\n"
target: .word   0
        .balign 4
packet: .byte   16, 0
        .word   CHUNK, 0, BUFFER        # sectors, where to
sector: .quad   0

        .org    510
        .word   0xaa55
